"""``.github``: its workflows are made of the targets of the Makefile, and are all that ``.ci/run`` does."""

import re
import subprocess
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GITHUB = ROOT / ".github"
ACTION = re.compile(r"(\./\.github/workflows/[a-z]+\.yml|[\w.-]+/[\w./-]+@(v\d+|release/v\d+|[0-9a-f]{40}))")
CONTEXTS = ("github", "matrix", "steps", "needs", "env", "always", "hashFiles")


def read(path):
    """Return a YAML file; a key twice or a tag is an error, and ``on`` is no truth value."""

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012 - of the class that it derives from
            first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:bool"]
            for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def construct_mapping(self, node, deep=False):
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            assert len(keys) == len(set(keys)), f"{path}: a key twice in {keys}"
            return super().construct_mapping(node, deep)

    return yaml.load(path.read_text(), Loader)


WORKFLOWS = {path.stem: read(path) for path in sorted((GITHUB / "workflows").glob("*.yml"))}
JOBS = [
    (f"{name}/{job}", flow, body) for name, flow in WORKFLOWS.items() for job, body in flow["jobs"].items()
]


def steps(job):
    return job.get("steps", [])


def commands(job):
    """Yield what the steps of a job run, once for each value of its matrix."""
    matrix = job.get("strategy", {}).get("matrix", {})
    for step in steps(job):
        texts = [step.get("run", "")]
        for key, values in matrix.items():
            place = f"${{{{ matrix.{key} }}}}"
            texts = [
                text.replace(place, value) for text in texts for value in (values if place in text else [""])
            ]
        yield from filter(None, (line.strip() for text in texts for line in text.splitlines()))


def targets():
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


RUN = {line for _, _, job in JOBS for line in commands(job)}
CALLED = {m[1] for line in RUN if (m := re.match(r"make ([a-z-]+)", line))}


def test_there_is_a_workflow_for_each_purpose():
    assert set(WORKFLOWS) == {"lint", "test", "faults", "servers", "docs", "nightly", "release"}
    assert all(flow["name"] == name for name, flow in WORKFLOWS.items())


def test_coverage_is_held_against_its_floors_every_night():
    (job,) = WORKFLOWS["nightly"]["jobs"].values()
    assert any(line.split()[:2] == ["make", "coverage"] for line in commands(job))


@pytest.mark.parametrize("target", sorted(CALLED))
def test_each_target_that_is_called_exists(target):
    assert target in targets()


def test_every_step_of_ci_run_is_one_of_a_workflow():
    script = (ROOT / ".ci" / "run").read_text()
    wanted = re.findall(r"^make .+$", script, re.MULTILINE)
    wanted += [
        line.replace('"', "").replace("$root/", "")
        for line in script.splitlines()
        if line.startswith('"$root/')
    ]
    assert len(wanted) >= 5
    plain = {line.strip() for line in RUN}
    for target in CALLED & targets():  # what these do, too
        shown = subprocess.run(
            ["make", "--dry-run", "--old-file=.venv/.installed", target],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        plain |= {line.strip() for line in shown.stdout.splitlines()}
    for line in wanted:
        assert line.replace("$work/here", ".") in plain, line


def test_versions_of_python_are_those_of_the_classifiers():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stated = [m[1] for c in project["classifiers"] if (m := re.fullmatch(r".*Python :: (3\.\d+)", c))]
    assert WORKFLOWS["test"]["jobs"]["test"]["strategy"]["matrix"]["python"] == stated
    for place, _, job in JOBS:
        for step in steps(job):
            version = step.get("with", {}).get("python-version", stated[0])
            assert version in (stated[0], "${{ matrix.python }}"), place


@pytest.mark.parametrize(("place", "flow", "job"), JOBS, ids=[place for place, _, _ in JOBS])
def test_a_job_has_few_rights_an_end_and_names_that_exist(place, flow, job):
    assert flow["permissions"] == {"contents": "read"}
    assert set(flow["concurrency"]) == {"group", "cancel-in-progress"}
    for needed in [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", []):
        assert needed in flow["jobs"], f"{place} needs {needed}"
    writes = {right for right, value in job.get("permissions", {}).items() if value == "write"}
    assert not writes or place.split("/")[0] in ("docs", "release"), writes
    if "uses" in job:
        assert (ROOT / job["uses"]).is_file()
        assert "workflow_call" in WORKFLOWS[Path(job["uses"]).stem]["on"]
        return
    assert job["timeout-minutes" if place != "docs/publish" else "environment"]
    names = {step["id"] for step in steps(job) if "id" in step}
    text = yaml.safe_dump(job)
    for step in re.findall(r"steps\.([a-z]+)\.", text):
        assert step in names
    for key in re.findall(r"matrix\.([a-z]+)", text):
        assert key in job["strategy"]["matrix"]
    asked = [job.get("if", ""), *(step.get("if", "") for step in steps(job))]
    for condition in [*asked, *re.findall(r"\$\{\{(.*?)\}\}", text)]:
        for word in re.findall(r"(?<![\w.'/-])([A-Za-z]+)(?=[.(])", condition):
            assert word in CONTEXTS, condition
    for step in steps(job):
        assert ("run" in step) != ("uses" in step), step
        if "uses" in step:
            assert ACTION.fullmatch(step["uses"]), step["uses"]
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] == "false"
        if step.get("uses", "").startswith("actions/setup-python@"):
            assert step["with"]["cache"] == "pip"
            assert (ROOT / step["with"]["cache-dependency-path"]).is_file()


def test_a_release_is_published_by_its_identity_with_all_its_files():
    jobs = WORKFLOWS["release"]["jobs"]
    assert WORKFLOWS["release"]["on"] == {"push": {"tags": ["v*"]}}
    text = (GITHUB / "workflows" / "release.yml").read_text()
    assert "secrets." not in text
    assert jobs["pypi"]["permissions"] == {"id-token": "write"}
    order = ["test", "build", "pypi", "github"]
    assert list(jobs) == order
    assert all(before in jobs[job]["needs"] for before, job in pairwise(order))
    assert any("attest-build-provenance" in step.get("uses", "") for step in jobs["build"]["steps"])
    assert any("gh release create" in line and "dist/*" in line for line in commands(jobs["github"]))


def test_forms_owners_and_updates_are_whole():
    for path in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")):
        form = read(path)
        if path.stem == "config":
            assert set(form) <= {"blank_issues_enabled", "contact_links"}
            continue
        assert {"name", "description", "body"} <= set(form), path
        ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
        assert len(ids) == len(set(ids)) >= 2
        for part in form["body"]:
            assert part["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
            assert part["attributes"].get("value") or part["attributes"]["label"]
    updates = read(GITHUB / "dependabot.yml")
    assert updates["version"] == 2
    assert [each["package-ecosystem"] for each in updates["updates"]] == ["pip", "github-actions"]
    for folder in updates["updates"][0]["directories"]:
        assert list((ROOT / folder.strip("/")).glob("*.txt")), folder
    owned = [
        line.split() for line in (GITHUB / "CODEOWNERS").read_text().splitlines() if line[:1] not in ("#", "")
    ]
    for pattern, *owners in owned:
        assert pattern == "*" or (ROOT / pattern.strip("/")).exists(), pattern
        assert owners
        assert all(owner.startswith("@") for owner in owners)
        assert all(
            owner in (ROOT / "CONTRIBUTING.md").read_text() for owner in owners
        )  # who they are is said
    for name in re.findall(r"`((?:autotune|tests|\.github)/[\w./-]+)`", (GITHUB / "SECURITY.md").read_text()):
        assert (ROOT / name).exists(), name
