"""Containers of pods as they are rendered from deploy/k8s: their user, confinement, limits, environment, mounts, command and probes, for Docker."""

import base64
import copy
import json
import os
import pathlib
import tempfile
import urllib.error
import urllib.request

from tests.containers.engine import run

# Images that a cluster pulls, by the names that tests/containers/setup makes them under
STAND_INS = {"mariadb:11.8.3": "mariadb:11.8"}


def image_of(container):
    image = container["image"]
    return STAND_INS.get(image, image.replace(":0.1.0", "") if image.startswith("silodns/") else image)


def bytes_of(size):
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return str(int(size[:-2]) * units[size[-2:]])


class Cluster:
    """The objects, a network that stands for the cluster's, and what was started in it."""

    def __init__(self, objects, directory, name, subnet):
        self.objects, self.directory, self.name = objects, pathlib.Path(directory), name
        self.started, self.volumes = [], []
        run("docker", "network", "create", "--subnet", subnet, name)
        self.gateway = json.loads(run("docker", "network", "inspect", name).stdout)[0]["IPAM"]["Config"][0].get("Gateway", subnet.replace(".0/24", ".1"))

    def with_objects(self, objects):
        """The same network, and what runs in it, as another overlay has it."""
        other = copy.copy(self)
        other.objects = objects
        return other

    def get(self, kind, name):
        (found,) = [o for o in self.objects if o["kind"] == kind and o["metadata"]["name"] == name]
        return found

    def logs(self):
        for id in self.started:
            done = run("docker", "logs", id)
            yield done.stdout + done.stderr

    def secrets(self):
        """Name of the file: content."""
        return {name: base64.b64decode(value).decode() for o in self.objects if o["kind"] == "Secret" for name, value in o["data"].items()}

    def close(self):
        if self.started:
            run("docker", "rm", "-f", "-v", *self.started, check=False)
        if self.volumes:
            run("docker", "volume", "rm", *self.volumes, check=False)
        run("docker", "network", "rm", self.name, check=False)

    def template(self, kind, name):
        spec = self.get(kind, name)["spec"]
        return spec["jobTemplate"]["spec"]["template"] if kind == "CronJob" else spec["template"]

    def start(self, kind, name, *aliases, container=None, node=None, also=()):
        """One container of the pod, under the Service's names; `node`: the directory that stands for the node's root."""
        template = self.template(kind, name)
        pod = template["spec"]
        containers = pod.get("initContainers", []) + pod["containers"]
        spec = next(c for c in containers if container in (None, c["name"]))
        words = ["docker", "run", "-d", "--network", self.name, *(word for alias in aliases for word in ("--network-alias", alias))]
        words += self.confinement(pod, spec) + self.environment(template, spec) + self.mounts(kind, name, pod, spec, node)
        # As in Kubernetes: command replaces the image's entry point, args what follows it
        if "command" in spec:
            words += ["--entrypoint", spec["command"][0]]
        words += [*also, image_of(spec), *spec.get("command", [])[1:], *spec.get("args", [])]
        id = run(*words).stdout.strip()
        self.started.append(id)
        return Running(id, pod, spec)

    def confinement(self, pod, spec):
        context = {**pod.get("securityContext", {}), **spec["securityContext"]}
        words = ["--user", f"{context['runAsUser']}:{context['runAsGroup']}", "--memory", bytes_of(spec["resources"]["limits"]["memory"])]
        words += ["--group-add", str(context["fsGroup"])] if "fsGroup" in context else []
        words += ["--read-only"] if context["readOnlyRootFilesystem"] else []
        for capability in context["capabilities"]["drop"]:
            words += ["--cap-drop", capability]
        words += ["--security-opt", "no-new-privileges"] if not context["allowPrivilegeEscalation"] else []
        words += ["--security-opt", "seccomp=unconfined"] if context["seccompProfile"]["type"] != "RuntimeDefault" else []
        return words

    def environment(self, template, spec):
        def value(variable):
            if "value" in variable:
                return variable["value"]
            path = variable["valueFrom"]["fieldRef"]["fieldPath"]
            return template["metadata"]["annotations"][path.removeprefix("metadata.annotations['").removesuffix("']")]

        values = {}
        for source in spec.get("envFrom", []):
            values |= self.get("ConfigMap", source["configMapRef"]["name"])["data"]
        values |= {e["name"]: value(e) for e in spec.get("env", [])}
        return [word for name, value in values.items() for word in ("-e", f"{name}={value}")]

    def mounts(self, kind, name, pod, spec, node):
        volumes = {v["name"]: v for v in pod.get("volumes", [])}
        words = []
        for mount in spec.get("volumeMounts", []):
            volume, at = volumes.get(mount["name"]), mount["mountPath"]
            if volume is None:  # of a volumeClaimTemplate
                claim = f"{self.name}-{name}-{mount['name']}"
                self.volumes.append(claim)
                run("docker", "run", "--rm", "-v", f"{claim}:/v", "debian:trixie-slim", "chown", f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['fsGroup']}", "/v")
                words += ["-v", f"{claim}:{at}"]
            elif "emptyDir" in volume:
                words += ["-v", f"{self.empty(pod)}:{at}"]
            elif "hostPath" in volume:
                words += ["-v", f"{node}{volume['hostPath']['path']}:{at}"]
            else:
                words += ["-v", f"{self.secret(volume['secret'], pod)}:{at}:ro"]
        return words

    def empty(self, pod):
        """An emptyDir is a directory of the node that everybody may write to. (A tmpfs of Docker takes over the mode that the directory has in the image.)"""
        directory = pathlib.Path(tempfile.mkdtemp(dir=self.directory))
        os.chown(directory, 0, pod.get("securityContext", {}).get("fsGroup", 0))
        directory.chmod(0o2777)
        return directory

    def secret(self, volume, pod):
        directory = self.directory / volume["secretName"]
        directory.mkdir(mode=0o755, exist_ok=True)
        for key, value in self.get("Secret", volume["secretName"])["data"].items():
            file = directory / key
            file.unlink(missing_ok=True)
            file.write_bytes(base64.b64decode(value))
            os.chown(file, 0, pod.get("securityContext", {}).get("fsGroup", 0))
            file.chmod(volume["defaultMode"])
        return directory


class Running:
    def __init__(self, id, pod, spec):
        self.id, self.pod, self.spec = id, pod, spec

    def inspect(self):
        return json.loads(run("docker", "inspect", self.id).stdout)[0]

    def address(self):
        (network,) = self.inspect()["NetworkSettings"]["Networks"].values()
        return network["IPAddress"]

    def is_running(self):
        return self.inspect()["State"]["Running"]

    def log(self):
        done = run("docker", "logs", self.id)
        return done.stdout + done.stderr

    def wait(self, timeout=60):
        return int(run("docker", "wait", self.id, timeout=timeout).stdout)

    def execute(self, *command, **more):
        return run("docker", "exec", *(["-i"] if "input" in more else []), self.id, *command, **more)

    def probe(self, name):
        """As the kubelet would ask: startupProbe, readinessProbe, livenessProbe."""
        probe = self.spec[name]
        if "exec" in probe:
            return self.execute(*probe["exec"]["command"], check=False).returncode == 0
        port = probe["httpGet"]["port"]
        (number,) = [p["containerPort"] for p in self.spec["ports"] if port in (p["name"], p["containerPort"])]
        return get(f"http://{self.address()}:{number}{probe['httpGet']['path']}", timeout=probe["timeoutSeconds"])[0] == 200

    def stop(self):
        """What is left of the grace after preStop, as the kubelet does it. Returns the exit code: 137 would be SIGKILL."""
        seconds = self.pod["terminationGracePeriodSeconds"] - self.spec["lifecycle"]["preStop"]["sleep"]["seconds"]
        run("docker", "stop", "-t", str(seconds), self.id)
        return self.inspect()["State"]["ExitCode"]


def get(url, timeout=10, user=None, method="GET", body=None, headers=None):
    body = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, method=method, data=body, headers=headers or {})
    if user:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(user).encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()
    except OSError:
        return 0, ""
