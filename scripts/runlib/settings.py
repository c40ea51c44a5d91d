"""The caller's SILODNS_… variables: which program each of them is for, and which ones make run cannot take."""

import difflib
import os
import re
import subprocess

from runlib.supervise import Failure

# What make run chooses itself (the database, addresses, credentials, files, the log that it reads), and what would end a program
OWN = set("""ADMIN_PASSWORD ADMIN_PASSWORD_FILE ADMIN_USER CHECK DB_HOST DB_NAME DB_PASSWORD DB_PASSWORD_FILE DB_PORT DB_SOCKET DB_TLS_CA DB_USER
    HOSTS_DIR HOSTS_FILE LISTEN LOG_FORMAT ONCE PASSWORD PASSWORD_FILE PORT PRINT REMOVE STATE_DIR TLS_CERT_FILE TLS_KEY_FILE TOKEN TOKEN_FILE
    URL USER""".split())
# Where both clients have a setting of that name, as in docker-compose.yml: without a prefix it is the updater's
HOSTSYNC = {"HOSTNAMES": "HOSTSYNC_HOSTNAMES", "INTERVAL": "HOSTSYNC_INTERVAL"}


def of_caller(build):
    """{"api": {name: value}, "updater": …, "hostsync": …}: names without SILODNS_. A variable that is none of theirs is a Failure."""
    given = {k.removeprefix("SILODNS_"): v for k, v in os.environ.items() if k.startswith("SILODNS_") and v}
    takes = {program: {name: name for name in names_of(build / f"silodns-{program}")} for program in ("api", "updater", "hostsync")}
    takes["hostsync"] |= HOSTSYNC
    known = {name for names in takes.values() for name in names.values()} - OWN
    wrong = []
    for name in sorted(given.keys() - known):
        close = difflib.get_close_matches(name, known, 1)
        wrong.append(f"SILODNS_{name}: " + (
            "make run chooses this itself (PORT= and RUN_DIR= are the port and the directory): unset it" if name in OWN else
            f"unknown; did you mean SILODNS_{close[0]}?" if close else "unknown: no program has such a setting; README.md lists them"))
    if wrong:
        raise Failure("\n  ".join(["these variables stand in the environment:", *wrong]))
    return {program: {name: given[variable] for name, variable in names.items() if variable in given} for program, names in takes.items()}


def names_of(program):
    done = subprocess.run([program, "--help=markdown"], stdout=subprocess.PIPE, text=True, check=True)
    return re.findall(r"`SILODNS_([A-Z0-9_]+)`", done.stdout)
