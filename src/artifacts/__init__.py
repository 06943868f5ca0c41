"""Model folders: where they are, what their manifest says, whether their files are the trained ones.

An artefact is a folder with a ``manifest.json``::

    models/<task>/<version>/manifest.json       kind, labels, hashes of the other files
    models/<task>/current                       the version in use, see :mod:`.pointer`

What is made of it for a faster engine lies elsewhere, see :mod:`.exports`.
"""

from __future__ import annotations

from .bases import OFFLINE_BASES, resolve_base
from .calibration import UNCALIBRATED, Calibration
from .certificate import Budget, Certificate, covered_files, read_certificate, verify_certificate
from .confidence import ConfidenceModel, read_confidence
from .exports import Checks, Export, Exported, Fp32Check, Int8Check, Precision, find_export
from .fallback import baselines, file_marks, intended, stand_ins
from .files import (
    CERTIFICATE,
    CONFIDENCE,
    CURRENT,
    MANIFEST,
    POLICY,
    PROFILE,
    WEIGHTS,
    read_form,
    read_json,
    replacing,
    sha256,
    verify_sha256,
)
from .manifest import BaseReference, Manifest, SummarizerManifest, read_manifest, read_summarizer_manifest
from .places import available_tasks, find_artifact, models_roots, pointer_marks, root_of
from .pointer import HISTORY, Change, champions, current_version, read_history, write_whole
from .policy import BackupPolicy, FirstStage, Policy, Rule, read_policy
from .profile import Histogram, Profile, read_profile
from .promotion import check_whole, is_newer, make_current, promote, rollback, rollback_target, version_key

__all__ = [
    "CERTIFICATE",
    "CONFIDENCE",
    "CURRENT",
    "HISTORY",
    "MANIFEST",
    "OFFLINE_BASES",
    "POLICY",
    "PROFILE",
    "UNCALIBRATED",
    "WEIGHTS",
    "BackupPolicy",
    "BaseReference",
    "Budget",
    "Calibration",
    "Certificate",
    "Change",
    "Checks",
    "ConfidenceModel",
    "Export",
    "Exported",
    "FirstStage",
    "Fp32Check",
    "Histogram",
    "Int8Check",
    "Manifest",
    "Policy",
    "Precision",
    "Profile",
    "Rule",
    "SummarizerManifest",
    "available_tasks",
    "baselines",
    "champions",
    "check_whole",
    "covered_files",
    "current_version",
    "file_marks",
    "find_artifact",
    "find_export",
    "intended",
    "is_newer",
    "make_current",
    "models_roots",
    "pointer_marks",
    "promote",
    "read_certificate",
    "read_confidence",
    "read_form",
    "read_history",
    "read_json",
    "read_manifest",
    "read_policy",
    "read_profile",
    "read_summarizer_manifest",
    "replacing",
    "resolve_base",
    "rollback",
    "rollback_target",
    "root_of",
    "sha256",
    "stand_ins",
    "verify_certificate",
    "verify_sha256",
    "version_key",
    "write_whole",
]
