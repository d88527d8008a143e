"""The manifest for KubeRay: what can be checked of it without KubeRay's own schema."""

import copy
import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from autotune.cli.app import cli
from autotune.core.version import VERSION
from autotune.study.study_file import read_study

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "examples" / "kubernetes" / "kuberay.yaml"
KUBERNETES = "1.30"


@pytest.fixture
def parts():
    """The parts of the manifest by kind."""
    return {part["kind"]: part for part in yaml.safe_load_all(FILE.read_text())}


def groups(parts):
    """Return the head's group and those of the workers."""
    spec = parts["RayCluster"]["spec"]
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def as_pod(group):
    """Return the pod of a group as Kubernetes would take it by itself."""
    metadata = {"name": "x", **group["template"].get("metadata", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": group["template"]["spec"]}


def test_what_is_kubernetes_own_is_valid(parts):
    for kind in ("Namespace", "ConfigMap", "PersistentVolumeClaim"):
        kubernetes_validate.validate(parts[kind], KUBERNETES, strict=True)
    for group in groups(parts):
        kubernetes_validate.validate(as_pod(group), KUBERNETES, strict=True)
        broken = copy.deepcopy(as_pod(group))
        broken["spec"]["containers"][0]["volumeMount"] = []
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def test_parts_of_the_manifest_refer_to_each_other_by_name(parts):
    places = {part["metadata"].get("namespace") for kind, part in parts.items() if kind != "Namespace"}
    assert places == {parts["Namespace"]["metadata"]["name"]}
    for group in groups(parts):
        spec = group["template"]["spec"]
        (container,) = spec["containers"]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                claim = parts["PersistentVolumeClaim"]["metadata"]["name"]
                assert volume["persistentVolumeClaim"] == {"claimName": claim}
            if "configMap" in volume:
                assert volume["configMap"] == {"name": parts["ConfigMap"]["metadata"]["name"]}
        assert container["resources"]["requests"] == container["resources"]["limits"]
    head = groups(parts)[0]["template"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in head["ports"]}
    assert ports == {"gcs": 6379, "dashboard": 8265, "client": 10001}
    name = parts["RayCluster"]["metadata"]["name"]
    assert parts["RayJob"]["spec"]["clusterSelector"] == {"ray.io/cluster": name}


def test_the_manifest_has_the_versions_of_the_package_and_its_constraints(parts):
    ray = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    assert parts["RayCluster"]["spec"]["rayVersion"] == ray
    images = {group["template"]["spec"]["containers"][0]["image"] for group in groups(parts)}
    assert images == {f"registry.example.com/autotune:{VERSION}"}
    assert f"rayproject/ray:{ray}-" in (ROOT / "docs" / "clusters.md").read_text(), "the page's own image"


def test_the_study_fits_the_cluster_and_is_kept_on_the_volume(parts, tmp_path):
    head = groups(parts)[0]["template"]["spec"]["containers"][0]
    mounts = {mount["name"]: mount["mountPath"] for mount in head["volumeMounts"]}
    assert next(each["value"] for each in head["env"] if each["name"] == "AUTOTUNE_STORE") == mounts["store"]
    program, command, file, *rest = parts["RayJob"]["spec"]["entrypoint"].split()
    assert program == "autotune"
    with cli.make_context("autotune", ["version"]) as context:
        own = cli.get_command(context, command)
        assert rest == ["--pass-env", "HF_TOKEN"]
        assert {"--pass-env"} <= {option for parameter in own.params for option in parameter.opts}
    assert "HF_TOKEN" in {each["name"] for each in head["env"]}
    folder, _, name = file.rpartition("/")
    assert folder == mounts["studies"]
    (tmp_path / name).write_text(parts["ConfigMap"]["data"][name])
    study = read_study(tmp_path / name)
    assert study.name == parts["RayJob"]["metadata"]["name"] == name.removesuffix(".yaml")
    (worker,) = groups(parts)[1:]
    there = int(worker["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])
    needed = study.resources.needed(study.space.default_config)
    assert 1 <= needed["gpus"] / max(1, needed.get("stages", 1)) <= there
    assert head["resources"]["limits"].keys() == {"cpu", "memory"}
    assert groups(parts)[0]["rayStartParams"]["num-cpus"] == "0", "no trial beside the drivers"
