"""The codes that the clinic writes: services, orders, payers' benefit classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SNOMED = "http://snomed.info/sct"
CPT = "http://www.ama-assn.org/go/cpt"
LOINC = "http://loinc.org"
ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
CANCELLED = "http://terminology.hl7.org/CodeSystem/appointment-cancellation-reason"
X12 = "https://x12.org/codes/service-type-codes"
PRIMARY = "394814009"

SERVICES = {  # code → words, share of routine visits; family medicine carries the primary care
    PRIMARY: ("General practice", 0.55),
    "394579002": ("Cardiology", 0.08),
    "394582007": ("Dermatology", 0.08),
    "394801008": ("Orthopaedics", 0.09),
    "394583002": ("Endocrinology", 0.06),
    "394585009": ("Gynaecology", 0.08),
    "722138006": ("Physiotherapy", 0.06),
}
RADIOLOGY = ("394914008", "Radiology")


@dataclass(frozen=True, slots=True)
class Ordered:
    """One thing that can be ordered. ``service`` is where it is done."""

    kind: str
    system: str
    code: str
    words: str
    service: str = ""
    share: float = 1.0


_CATEGORY = {"referral": "3457005", "imaging": "363679005", "laboratory": "108252007"}

REFERRALS = (
    Ordered("referral", SNOMED, "183519002", "Cardiology referral", "394579002"),
    Ordered("referral", SNOMED, "183521007", "Dermatology referral", "394582007"),
    Ordered("referral", SNOMED, "183545006", "Orthopaedic referral", "394801008"),
    Ordered("referral", SNOMED, "183523005", "Endocrinology referral", "394583002"),
    Ordered("referral", SNOMED, "306170007", "Physiotherapy referral", "722138006"),
)
WALK_INS = (
    Ordered("imaging", CPT, "71046", "X-ray of the chest"),
    Ordered("imaging", CPT, "73562", "X-ray of the knee"),
    Ordered("imaging", CPT, "73630", "X-ray of the foot"),
)
IMAGES = (  # shares: belief; class 62 of X12 is MRI and CAT scan
    Ordered("imaging", CPT, "70551", "MRI of the brain", share=0.15),
    Ordered("imaging", CPT, "73721", "MRI of the knee", share=0.15),
    Ordered("imaging", CPT, "71260", "CT of the chest", share=0.2),
    Ordered("imaging", CPT, "76700", "Ultrasound of the abdomen", share=0.25),
    Ordered("imaging", CPT, "77067", "Screening mammography", share=0.25),
)
LABS = (
    Ordered("laboratory", CPT, "80053", "Comprehensive metabolic panel"),
    Ordered("laboratory", CPT, "85025", "Complete blood count"),
    Ordered("laboratory", CPT, "83036", "Haemoglobin A1c"),
    Ordered("laboratory", CPT, "80061", "Lipid panel"),
    Ordered("laboratory", CPT, "84443", "Thyrotropin"),
)
WARD = (
    Ordered("ward", SNOMED, "225358003", "Wound care"),
    Ordered("imaging", CPT, "71045", "Portable X-ray of the chest"),
    Ordered("laboratory", CPT, "85025", "Complete blood count"),
    Ordered("referral", SNOMED, "183519002", "Inpatient cardiology consultation"),
)

# Benefit classes by X12 service type: words, how likely a plan asks for authorization there. Together 5: the
# belief of five flagged classes an answer. Which ones is payers' practice: stays, surgery, advanced imaging,
# equipment, home care; hardly ever office visits, plain films or laboratory.
CLASSES = {
    "48": ("Hospital, inpatient", 0.9),
    "62": ("MRI or CAT scan", 0.75),
    "AG": ("Skilled nursing care", 0.65),
    "12": ("Durable medical equipment", 0.6),
    "42": ("Home health care", 0.55),
    "2": ("Surgical", 0.45),
    "MH": ("Mental health", 0.3),
    "13": ("Ambulatory surgery", 0.25),
    "PT": ("Physical therapy", 0.25),
    "33": ("Chiropractic", 0.1),
    "3": ("Consultation", 0.1),
    "5": ("Diagnostic laboratory", 0.05),
    "4": ("Diagnostic X-ray", 0.05),
}
# What a plan leaves out: one class, mostly dental, vision, hearing; now and then one that orders are about.
EXCLUDED = {"35": 0.4, "AL": 0.2, "71": 0.15, "33": 0.1, "82": 0.09, "62": 0.02, "4": 0.02, "3": 0.02}
NOT_COVERED = {"35": "Dental care", "AL": "Vision", "71": "Audiology", "82": "Family planning"}


def concept(system: str, code: str, words: str) -> dict[str, Any]:
    """A CodeableConcept."""
    return {"coding": [{"system": system, "code": code, "display": words}], "text": words}


def category(kind: str) -> list[dict[str, Any]] | None:
    """The category of an order, where HL7's value set has one."""
    return [concept(SNOMED, _CATEGORY[kind], kind)] if kind in _CATEGORY else None


def service(code: str) -> list[dict[str, Any]]:
    """The serviceType of a visit."""
    words = RADIOLOGY[1] if code == RADIOLOGY[0] else SERVICES[code][0]
    return [concept(SNOMED, code, words)]


def cancelled(party: str) -> dict[str, Any]:
    """The reason of a cancelled visit."""
    code, words = ("prov", "Provider") if party == "provider" else ("pat", "Patient")
    return concept(CANCELLED, code, words)
