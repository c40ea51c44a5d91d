"""The images by themselves: small, without a shell, confined, and with a bill of what they are made of."""

import json
import tarfile

import pytest

from tests.containers.engine import IMAGES, run


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_small_has_no_shell_and_says_how_it_is(image, tmp_path):
    config = json.loads(run("docker", "image", "inspect", image).stdout)[0]
    print(f"{image}: {config['Size'] / 1e6:.1f} MB")
    assert config["Size"] < 60_000_000
    assert config["Config"]["Healthcheck"]["Test"][0] == "CMD"
    if image != "silodns/hostsync":
        assert config["Config"]["User"] == "10001:10001"
    for program in ("/bin/sh", "sh", "/bin/bash"):
        done = run("docker", "run", "--rm", "--entrypoint", program, image, "-c", "true", check=False)
        assert done.returncode == 127, f"{image} has {program}"
    run("docker", "save", "-o", str(tmp_path / "image.tar"), image)
    names = []
    with tarfile.open(tmp_path / "image.tar") as outer:
        for member in outer.getmembers():
            if member.name.endswith("layer.tar"):
                names += tarfile.open(fileobj=outer.extractfile(member)).getnames()
    assert any("silodns-" in name for name in names)
    assert not [name for name in names if "password" in name.lower() and not name.endswith(".so")], "a secret in a layer"


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_with_a_read_only_root_and_no_capability(image):
    done = run("docker", "run", "--rm", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", image, "--version")
    assert "0.1.0" in done.stdout


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_says_what_it_is_made_of(image, tmp_path):
    container = run("docker", "create", image).stdout.strip()
    try:
        run("docker", "export", "-o", str(tmp_path / "root.tar"), container)
    finally:
        run("docker", "rm", container)
    with tarfile.open(tmp_path / "root.tar") as root:
        bill = json.load(root.extractfile("usr/share/doc/silodns/sbom.cdx.json"))
        libraries = {"/" + member.name for member in root.getmembers() if ".so" in member.name and member.isfile()}
    assert bill["bomFormat"] == "CycloneDX" and bill["metadata"]["component"]["name"] == image.replace("/", "-")
    listed = {p["value"] for c in bill["components"] for p in c["properties"] if p["name"] == "silodns:file"}
    assert libraries and libraries <= listed
    assert all("distro=trixie" in c["purl"] and c["version"] for c in bill["components"])
