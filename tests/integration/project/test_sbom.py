"""The bill of materials of an image: every file that is not the program's own, with its package and the very version."""

import json
import os
import pathlib
import pathlib
import subprocess

import pytest

from tests.lib.hub import BUILD, REPO

pytestmark = pytest.mark.readme
SBOM = "usr/share/doc/silodns/sbom.cdx.json"


def lay_out(program, directory):
    subprocess.run([REPO / "scripts/image-root", BUILD / program, directory], check=True, timeout=120)
    return json.loads((directory / SBOM).read_text())


def files_of(component):
    return [p["value"] for p in component["properties"] if p["name"] == "silodns:file"]


@pytest.mark.parametrize("program", ["silodns-api", "silodns-updater", "silodns-hostsync"])
def test_every_file_of_an_image_stands_in_its_bill_of_materials(program, tmp_path):
    bill = lay_out(program, tmp_path)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    version = subprocess.run([BUILD / program, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[1]
    assert bill["metadata"]["component"]["name"] == program and bill["metadata"]["component"]["version"] == version
    listed = [file for component in bill["components"] for file in files_of(component)]
    own = {f"/usr/bin/{program}", "/" + SBOM, "/etc/passwd", "/etc/group", "/etc/nsswitch.conf"}
    there = {f"/{path.relative_to(tmp_path)}" for path in tmp_path.rglob("*") if path.is_file()} - own
    assert sorted(listed) == sorted(there | {"(compiled in)"}) and any(".so" in file for file in there)
    done = subprocess.run(["dpkg-query", "-W", "-f", "${binary:Package} ${Version}\\n"], check=True, stdout=subprocess.PIPE, text=True)
    versions = {}
    for package, version in (line.split() for line in done.stdout.splitlines()):
        versions[package] = versions[package.split(":")[0]] = version
    for component in bill["components"]:
        assert component["version"] == versions[component["bom-ref"]]
        assert component["purl"].startswith(f"pkg:deb/debian/{component['name']}@") and " " not in component["purl"]
        for file in files_of(component):
            if ".so" in file:
                owned = pathlib.Path(f"/var/lib/dpkg/info/{component['bom-ref']}.list").read_text().splitlines()
                assert os.path.realpath(file) in {os.path.realpath(path) for path in owned if ".so" in path}, file
    refs = [component["bom-ref"] for component in bill["components"]]
    assert bill["dependencies"] == [{"ref": program, "dependsOn": refs}] and len(set(refs)) == len(refs)


def test_the_same_files_give_the_same_text_and_a_file_of_no_package_is_refused(tmp_path):
    assert lay_out("silodns-updater", tmp_path / "a") == lay_out("silodns-updater", tmp_path / "b")
    stray = tmp_path / "stray.so"
    stray.touch()
    done = subprocess.run([REPO / "scripts/sbom", BUILD / "silodns-updater"], input=f"{stray}\n", text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 1 and "belongs to no package" in done.stderr and done.stdout == ""
