"""A Kubernetes of one node, within the namespaces that tests/node/run made: its programs, and kubectl."""

import json
import os
import pathlib
import secrets
import ssl
import subprocess
import sys
import urllib.request

from tests.containers.engine import run
from tests.lib.waiting import wait_until

ADDRESS = "10.99.0.1"  # the node's; tests/node/inside sets it
PODS, SERVICES = "10.244.0.0/16", "10.96.0.0/16"
SERVER = f"https://{ADDRESS}:6443"
CONTAINERD = "/run/containerd/containerd.sock"
# What a cluster pulls, and the name that tests/node/images gave it
PAUSE = "registry.k8s.io/pause:3.10"
IMAGES = {PAUSE: "docker.io/silodns-node/pause:3.10", "docker.io/nginxinc/nginx-unprivileged:1.27.4": "docker.io/silodns-node/pause:3.10",  # which serves nothing
          "docker.io/library/mariadb:11.8.3": "docker.io/library/mariadb:11.8",
          **{f"docker.io/silodns/{part}:0.1.0": f"docker.io/silodns-node/{part}:0.1.0" for part in ("api", "updater", "hostsync")}}

# Who the parts of Kubernetes are: user and group
PEOPLE = {"admin": ("admin", "system:masters"), "controllers": ("system:kube-controller-manager", ""), "scheduler": ("system:kube-scheduler", ""),
          "kubelet": ("system:node:node1", "system:nodes"), "proxy": ("system:kube-proxy", "")}

# In the order in which they start: the command ({} is the node's directory), and what answers once it has started
PROGRAMS = {
    "etcd": ("etcd --data-dir={}/etcd --unsafe-no-fsync --log-level=warn", "http://127.0.0.1:2379/health"),
    "containerd": ("containerd --config={}/containerd.toml", None),
    "kube-apiserver": (f"kube-apiserver --etcd-servers=http://127.0.0.1:2379 --cert-dir={{}}/certificates --advertise-address={ADDRESS} --bind-address={ADDRESS}"
                       f" --service-cluster-ip-range={SERVICES} --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction"
                       " --token-auth-file={}/tokens.csv --service-account-issuer=https://kubernetes.default.svc --service-account-key-file={}/accounts.key"
                       " --service-account-signing-key-file={}/accounts.key", f"{SERVER}/readyz"),
    "kube-controller-manager": ("kube-controller-manager --kubeconfig={}/controllers.json --leader-elect=false --use-service-account-credentials"
                                " --service-account-private-key-file={}/accounts.key --root-ca-file={}/certificates/apiserver.crt --bind-address=127.0.0.1",
                                "https://127.0.0.1:10257/healthz"),
    "kube-scheduler": ("kube-scheduler --kubeconfig={}/scheduler.json --leader-elect=false --bind-address=127.0.0.1", "https://127.0.0.1:10259/healthz"),
    "coredns": ("coredns -conf={}/Corefile", f"http://{ADDRESS}:8181/ready"),
    "kube-proxy": ("kube-proxy --config={}/kube-proxy.json --hostname-override=node1", "http://127.0.0.1:10256/livez"),
    "kubelet": (f"kubelet --config={{}}/kubelet-settings.json --kubeconfig={{}}/kubelet.json --hostname-override=node1 --node-ip={ADDRESS} --root-dir={{}}/kubelet"
                " --cert-dir={}/kubelet/pki",
                "http://127.0.0.1:10248/healthz"),
}

COREFILE = """.:53 {
    errors
    ready :8181
    kubernetes cluster.local {
        kubeconfig %s/admin.json
    }
    cache 5
}
"""

CONTAINERD_CONFIG = """version = 2
root = "%(directory)s/containerd"
state = "/run/containerd"
[grpc]
  address = "%(socket)s"
[plugins."io.containerd.internal.v1.opt"]
  path = "%(directory)s/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%(pause)s"
  restrict_oom_score_adj = true # less than its own is not allowed everywhere
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "%(programs)s"
    conf_dir = "%(directory)s/network"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""

# A node of a disk that is nearly full, or of little memory, is still good enough for this
KUBELET = {"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1", "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
           "authorization": {"mode": "AlwaysAllow"}, "clusterDNS": [ADDRESS], "clusterDomain": "cluster.local", "cgroupDriver": "cgroupfs", "failSwapOn": False,
           "containerRuntimeEndpoint": f"unix://{CONTAINERD}", "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "50Mi"},
           "imageGCHighThresholdPercent": 100, "failCgroupV1": False}

PROXY = {"kind": "KubeProxyConfiguration", "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "mode": "iptables", "clusterCIDR": PODS,
         # settings of the whole machine, which are left alone
         "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}}

NETWORK = {"cniVersion": "1.0.0", "name": "pods", "plugins": [
    {"type": "bridge", "bridge": "pods", "isDefaultGateway": True, "hairpinMode": True, "ipMasq": False,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": PODS}]], "dataDir": "/run/cni"}}]}

# The class that a cluster has by default, with a disk of the node for one database
STORAGE = {"kind": "List", "apiVersion": "v1", "items": [
    {"kind": "StorageClass", "apiVersion": "storage.k8s.io/v1", "metadata": {"name": "disk", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
     "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer", "reclaimPolicy": "Retain"},
    {"kind": "PersistentVolume", "apiVersion": "v1", "metadata": {"name": "disk1"},
     "spec": {"capacity": {"storage": "20Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "disk", "persistentVolumeReclaimPolicy": "Retain",
              "local": {"path": None}, "nodeAffinity": {"required": {"nodeSelectorTerms": [
                  {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node1"]}]}]}}}}]}


def answers(url):
    context = ssl._create_unverified_context() if url.startswith("https:") else None
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:
            return answer.status == 200
    except OSError:
        return False


class Node:
    """`out`: where tests/node/run put programs and images, and where the logs stay until the next run."""

    def __init__(self, out):
        self.out, self.directory, self.logs = out, out / "state", out / "logs"
        self.running = {}
        self.logs.mkdir(exist_ok=True)
        self.write_settings()
        for name, (command, url) in PROGRAMS.items():
            self.start(name, command, url)
            if name == "containerd":
                wait_until(lambda: run("ctr", "--address", CONTAINERD, "version", check=False).returncode == 0, 60, what="containerd")
                self.load_images()
        self.kubectl("apply", "-f", "-", input=json.dumps(self.storage()))
        wait_until(lambda: self.get("nodes", "node1")["status"]["conditions"][-1]["status"] == "True", 120, "the node")

    def write_settings(self):
        tokens = {name: secrets.token_hex(16) for name in PEOPLE}
        lines = [f'{tokens[name]},{user},{user},"{group}"' for name, (user, group) in PEOPLE.items()]
        self.write("tokens.csv", "\n".join(lines) + "\n")
        for name, token in tokens.items():
            self.write(f"{name}.json", {"kind": "Config", "apiVersion": "v1", "current-context": "node", "users": [{"name": "me", "user": {"token": token}}],
                                        "clusters": [{"name": "node", "cluster": {"server": SERVER, "insecure-skip-tls-verify": True}}],
                                        "contexts": [{"name": "node", "context": {"cluster": "node", "user": "me"}}]})
        run("openssl", "genrsa", "-out", self.directory / "accounts.key", "2048")
        self.write("containerd.toml", CONTAINERD_CONFIG % {"directory": self.directory, "socket": CONTAINERD, "pause": PAUSE, "programs": self.out / "bin"})
        self.write("Corefile", COREFILE % self.directory)
        self.write("kubelet-settings.json", KUBELET | {"resolvConf": f"{self.directory}/resolv.conf", "volumePluginDir": f"{self.directory}/volume-plugins"})
        self.write("kube-proxy.json", PROXY | {"clientConnection": {"kubeconfig": str(self.directory / "proxy.json")}})
        self.write("network/pods.conflist", NETWORK)

    def write(self, name, content):
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))

    def storage(self):
        disk = self.directory / "disk"
        disk.mkdir()
        storage = json.loads(json.dumps(STORAGE))
        storage["items"][1]["spec"]["local"]["path"] = str(disk)
        return storage

    def start(self, name, command, url):
        with open(self.logs / f"{name}.log", "wb") as log:
            process = subprocess.Popen(command.replace("{}", str(self.directory)).split(), stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self.running[name] = process
        if url:
            wait_until(lambda: answers(url) or process.poll() is not None, 120, name)
        assert process.poll() is None, f"{name} ended: {(self.logs / f'{name}.log').read_text()[-2000:]}"

    def load_images(self):
        self.ctr("images", "import", self.out / "images/images.tar", timeout=600)
        for name, made in IMAGES.items():
            self.ctr("images", "tag", made, name)

    def ctr(self, *words, **more):
        return run("ctr", "--address", CONTAINERD, "--namespace", "k8s.io", *words, **more)

    def kubectl(self, *words, **more):
        return run("kubectl", *words, **more)

    def get(self, *words):
        return json.loads(self.kubectl("get", "-o", "json", *words).stdout)

    def pods(self, namespace, label=None):
        return self.get("pods", "-n", namespace, *(["-l", label] if label else []))["items"]


if __name__ == "__main__":  # tests/node/run --shell
    Node(pathlib.Path(sys.argv[1]))
    subprocess.run([os.environ.get("SHELL", "/bin/sh")])
