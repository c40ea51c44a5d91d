"""docs/kubernetes.md, followed by its own words."""

import re
import shutil

from tests.containers.engine import run


class Checkout:
    def __init__(self, directory, repo):
        self.directory, self.repo = directory, repo
        shutil.copytree(repo / "deploy/k8s", directory / "deploy/k8s", ignore=lambda at, names: [n for n in names if at.endswith("/secrets") and n != ".gitignore"])
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=silodns.example.net",
            "-keyout", directory / "privkey.pem", "-out", directory / "fullchain.pem")

    def set(self, file, name, value):
        path = self.directory / "deploy/k8s" / file
        text, count = re.subn(rf"^{name}=.*", f"{name}={value}", path.read_text(), flags=re.M)
        assert count == 1, f"{file} has no {name}"
        path.write_text(text)

    def make_secrets(self):
        run(self.directory / "deploy/k8s/make-secrets")

    def secret(self, name):
        return (self.directory / "deploy/k8s/components/values/secrets" / name).read_text()

    def block(self, mark):
        """The commands that follow these words of the document, each a line."""
        text = (self.repo / "docs/kubernetes.md").read_text()
        block = re.search(r"^```sh\n(.*?)^```", text[text.index(mark):], re.M | re.S).group(1)
        block = re.sub(r"(\\|(?<=\|))\n +", " ", block)
        return [line for line in block.splitlines() if not line.startswith("#")]

    def follow(self, mark, overlay="single"):
        """Runs them. Returns what they say, warnings included."""
        commands = "\n".join(self.block(mark)).replace("overlays/single", f"overlays/{overlay}")
        done = run("sh", "-euc", f"exec 2>&1\n{commands}", cwd=self.directory, timeout=600, check=False)
        assert done.returncode == 0, done.stdout
        return done.stdout
