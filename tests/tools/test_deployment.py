"""Files for containers, clusters and notebooks, as far as they can be checked without any: each command in them is one, and the script runs."""

import ast
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from v2v.cli.main import COMMANDS
from v2v.cli.parsers import build_parser
from v2v.cli.train import list_experiments

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "tools" / "deploy"
NOTEBOOKS = sorted((ROOT / "experiments").glob("*.ipynb"))
PARSER = build_parser(COMMANDS)


def accepted(words: list[str]) -> None:
    """The command line knows all words but the fields of an experiment."""
    args, rest = PARSER.parse_known_args(words)
    if args.command == "train":
        assert not args.experiment or args.experiment in dict(list_experiments())
        rest = [word for word in rest if word.startswith("--")]
        known = r"--(edit|data|mesh|log|model)\.[a-z.-]+|--(weights|sets|latents|pairs)"
        rest = [word for word in rest if not re.fullmatch(known, word)]
    assert not rest, rest


def shell_commands(text: str) -> list[list[str]]:
    """Every line that begins with v2v."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.strip().startswith("v2v ")]


def test_the_manifest():
    service, job = yaml.safe_load_all((DEPLOY / "gke_tpu_job.yaml").read_text())
    assert (service["kind"], job["kind"], job["apiVersion"]) == ("Service", "Job", "batch/v1")
    template = job["spec"]["template"]["spec"]
    # Workers find one another by the names of a headless service.
    assert service["spec"]["clusterIP"] == "None" and template["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"]["job-name"] == job["metadata"]["name"]
    (container,) = template["containers"]
    accepted(container["args"])
    assert "--distributed" in container["args"]
    chips = container["resources"]["limits"]["google.com/tpu"]
    assert chips == container["resources"]["requests"]["google.com/tpu"]
    x, y = map(int, template["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"))
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == x * y // chips
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in template["volumes"]}


def test_the_compose_file():
    """Its commands are commands, and what they read is there: volumes and secrets of the same names."""
    compose = yaml.safe_load((DEPLOY / "serve.compose.yaml").read_text())
    services = compose["services"]
    assert services["http"]["image"] == services["worker"]["image"] != services["db"]["image"]
    for name in ("http", "worker"):
        service = services[name]
        accepted(service["command"])
        words = " ".join(service["command"])
        assert f"--role {name}" in words and "--files /jobs" in words and "jobs:/jobs" in service["volumes"]
        assert set(re.findall(r"/run/secrets/(\w+)", words)) == set(service["secrets"])
    assert {secret for service in services.values() for secret in service["secrets"]} == set(
        compose["secrets"]
    )
    volumes = {volume.split(":")[0] for service in services.values() for volume in service["volumes"]}
    assert volumes == set(compose["volumes"])
    assert (DEPLOY / "../.." / services["http"]["build"]["dockerfile"]).exists()


def test_the_slurm_script(tmp_path):
    """With a stand-in for srun, which tells what it was asked to start."""
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$V2V_CACHE" "$@"\n')
    srun.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "V2V_CACHE": "/shared/v2v"}
    script = str(DEPLOY / "train.slurm")

    def run(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", script, *words], capture_output=True, text=True, env=environment, cwd=tmp_path
        )

    started = run("wan22_ti2v_5b", "--workdir", "a b", "--sets", "pairs")
    cache, kill, program, *words = started.stdout.splitlines()
    assert (cache, kill, program) == ("/shared/v2v", "--kill-on-bad-exit=1", "v2v")
    assert words == ["train", "wan22_ti2v_5b", "--workdir", "a b", "--sets", "pairs", "--distributed"]
    accepted(words)
    assert run().returncode == 2 and "expected the words of v2v train" in run().stderr


@pytest.mark.parametrize("file", sorted(DEPLOY.glob("*.Dockerfile")), ids=lambda file: file.stem)
def test_the_images(file):
    """They install extras that exist, and copy nothing that the build's context leaves out."""
    text = file.read_text()
    extras = re.search(r"^ARG EXTRAS=(.+)$", text, re.M)
    assert extras is not None
    declared = set(re.findall(r'"(\w+)": [A-Z]+,', (ROOT / "setup.py").read_text()))
    assert set(extras[1].split(",")) <= declared
    assert 'ENTRYPOINT ["v2v"]' in text and "COPY . ." in text
    # Kubernetes' runAsNonRoot takes no names.
    assert all(user.isdigit() for user in re.findall(r"^USER (.+)$", text, re.M))
    command = json.loads(text.rpartition("\nCMD ")[2])
    if command != ["--help"]:
        accepted(command)
    left_out = (ROOT / ".dockerignore").read_text().splitlines()
    assert not {"v2v", "data_synth", "experiments", "setup.py", "README.md"} & set(left_out)


@pytest.mark.parametrize("file", [DEPLOY / "README.md", *NOTEBOOKS], ids=lambda file: file.name)
def test_commands_in_texts(file):
    text = file.read_text()
    commands = shell_commands(text)
    if file.suffix == ".ipynb":
        sources = [
            "".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"
        ]
        commands = [words for source in sources for words in shell_commands(source)]
        for source in sources:
            if not source.startswith("%%"):
                ast.parse(source)
    else:
        commands += [shlex.split(words)[1:] for words in re.findall(r'--command "(v2v [^"]+)"', text)]
    assert commands
    for words in commands:
        accepted(words)
