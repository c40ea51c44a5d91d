"""One line for each change: who reported what, which revision, and how long until the hosts file had it.

Puts together what the logs of two programs say: the hub's "silo changed", hostsync's "silo applied". Either may be read first.
No thread, no input or output of its own: every method returns the lines to print.
"""

import datetime

OVERDUE = 5  # seconds after which a change is told without waiting for the hosts file any longer
NAMES_TOLD = 3
GONE = "the hub has no such silo: its records leave the hosts file"


class Changes:
    def __init__(self, followed, read_silo):
        """read_silo(id) → (revision, {hostname: [address]}), (None, {}) if there is no such silo, or None: cannot tell."""
        self.followed, self.read_silo = followed, read_silo
        self.known = {silo: (read_silo(silo) or (None, {}))[1] for silo in followed}
        self.waiting = {}  # silo → (event, text)
        self.applied = {}  # silo → hostsync's event
        self.leaving = set()  # silos that hostsync is taking out
        self.database_away = False

    def hub_said(self, event):
        if event.get("msg") == "silo changed":
            return self.changed(event)
        if event.get("msg") == "user changed":
            return [f"{clock(event)}  {event['user']} from {event['peer']}: user {event['name']} (revision {event['revision']})"]
        if event.get("msg") == "database up":
            told, self.database_away = self.database_away, False
            return [f"{clock(event)}  hub: database up again"] if told else []
        self.database_away |= event.get("msg") == "database away"
        return problem("hub", event)

    def hostsync_said(self, event):
        silo = event.get("silo")
        if event.get("msg") == "silo applied":
            self.applied[silo] = event
            return self.settle(silo)
        if event.get("msg") == GONE:
            if event["records"]:
                self.leaving.add(silo)
                return []
            return self.left(silo, event)
        if event.get("msg") == "hosts file written":
            return [line for silo in sorted(self.leaving) for line in self.left(silo, event)]
        return problem("hostsync", event)

    def overdue(self, now):
        """Lines for changes that the hosts file did not get in time; now: seconds since 1970."""
        lines = []
        for silo in [s for s, (event, _) in self.waiting.items() if now - seconds(event) > OVERDUE]:
            lines += self.give_up(silo, f"not in the hosts file after {OVERDUE} s")
        return lines

    # ---- inside ----

    def changed(self, event):
        silo = event["silo"]
        lines = self.give_up(silo, f"replaced by revision {event['revision']} before the hosts file had it")
        what = self.what(silo, event)
        self.waiting[silo] = (event, f"{clock(event)}  {event['user']} from {event['peer']}: {silo}: {what} (revision {event['revision']})")
        if silo not in self.followed:
            return lines + self.give_up(silo, "not in this hosts file, which follows " + " and ".join(self.followed))
        return lines + self.settle(silo)

    def give_up(self, silo, why):
        return [f"{self.waiting.pop(silo)[1]}; {why}"] if silo in self.waiting else []

    def settle(self, silo):
        event, text = self.waiting.get(silo, (None, ""))
        applied = self.applied.get(silo)
        if not event or not applied or applied["revision"] < event["revision"]:
            return []
        del self.waiting[silo]
        if applied["revision"] > event["revision"]:
            return [f"{text}; replaced by revision {applied['revision']} before the hosts file had it"]
        return [f"{text}; in the hosts file after {(seconds(applied) - seconds(event)) * 1000:.0f} ms"]

    def left(self, silo, event):
        self.leaving.discard(silo)
        if silo in self.waiting:
            self.applied[silo] = {"time": event["time"], "revision": self.waiting[silo][0]["revision"]}
        return self.settle(silo)

    def what(self, silo, event):
        """What the change was, by reading the silo; only how many records, if it has been changed again already."""
        found = self.read_silo(silo)
        if found is None or found[0] not in (None, event["revision"]):
            return f"{event['records']} record{'s' * (event['records'] != 1)}"
        before, now = self.known.get(silo, {}), found[1]
        if silo in self.followed:  # of others, nothing is remembered: there may be a great many
            self.known[silo] = now
        if found[0] is None:
            return "deleted"
        told = [difference(name, before.get(name), now.get(name)) for name in sorted(before.keys() | now.keys())
                if before.get(name) != now.get(name)]
        if len(told) > NAMES_TOLD:
            told[NAMES_TOLD:] = [f"and {len(told) - NAMES_TOLD} more"]
        return ", ".join(told) or "no record" if now else "no record left"


def difference(name, before, now):
    if not now:
        return f"{name} removed"
    return f"{name} {' '.join(now)}" + (f" (was {' '.join(before)})" if before else "")


def problem(program, event):
    """A warning or an error of a program, for people."""
    if event.get("level") not in ("warn", "error"):
        return []
    about = [str(event[key]) for key in ("silo", "hostname", "reason", "detail") if event.get(key)]
    return [f"{clock(event)}  {program}: {event.get('msg')}{': ' * bool(about)}{', '.join(about)}"]


def seconds(event):
    return datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()


def clock(event):
    return datetime.datetime.fromtimestamp(seconds(event)).strftime("%H:%M:%S")
