"""How much happens in a clinic of 20,000 patients on a working day, and where each number comes from.

"published" are rates of studies; "belief" is what the noise estimate (section 3.1 of the workflow review, column
"mid") believes where nothing is published; "choice" is ours, made before the first run. None was turned until
the number of tasks came out right.
"""

from __future__ import annotations

from dataclasses import dataclass

PATIENTS = 20_000  # section 3.1: "Clinic of 20,000 patients, per working day (250 a year)"
YEAR = 250  # working days


@dataclass(frozen=True, slots=True)
class Volumes:
    """Numbers a day are of 20,000 patients; shares are of one."""

    # Visits: section 3.1, "visits kept / scheduled", mid 216 / 307
    scheduled: float = 307.0
    no_show: float = 0.08  # published: no-shows 8.0 % (Marshfield)
    patient_cancels: float = 0.177  # published: cancellations 17.7 %
    provider_cancels: float = 0.04  # belief: provider cancels 4 %; the three leave 216 of 307 kept
    sick_share: float = (
        0.5  # choice: half of them are a sick doctor's whole day ("20 cancelled visits", issue)
    )
    practitioners: int = 17  # choice: of 307 visits each sees 18, so that a sick day is about 20 visits
    unsettled: float = 0.04  # belief: proposed/pending 4 %
    settled_alone: float = 0.5  # choice: the desk's own queue settles half of those within two days
    rescheduled: float = 0.65  # section 2.2: "most reschedules are cancel + new": cancelled and moved at once
    no_show_rebooked: float = 0.3  # choice: who calls or is called the same day without anybody's task
    moved_later: float = 0.4  # choice: of those not moved at once, moved within two weeks all the same
    no_show_undone: float = 0.04  # section 2.1: "late arrivals turned to noshow overnight and back"
    never_moved_on: float = 0.15  # section 2.2: "many clinics never move past booked/arrived"
    near: float = 0.25  # choice: booked for today or tomorrow
    lead_days: float = 15.0  # choice: mean lead of the others, working days

    # Orders: section 3.1, "orders: referral / imaging / lab lines", mid 20 / 30 / 324, each per kept visit
    referrals: float = 0.093  # published: 9.3 % of visits (Barnett)
    images: float = 0.14  # belief: imaging 14 % of visits
    lab_lines: float = 1.5  # belief: 1.5 lab lines per visit
    no_priority: float = 0.93  # section 2.3: "93 % of orders carry no priority"
    no_category: float = (
        0.3  # section 2.1: most orders of the corpus have none; half of that, for a US Core EHR
    )
    local_code: float = 0.03  # choice: codes that no value set holds
    children: float = 0.1  # section 2.1: children of orders are fulfilment; the share is a choice
    standing: float = 0.1  # section 2.2: "standing orders … next year's mammogram"; the share is a choice
    forbidding: float = 0.002  # section 2.1: doNotPerform, portable medical orders
    referral_dated: float = 0.611  # published: 38.9 % of referrals had no appointment date (Duke)
    image_walk_in: float = 0.45  # choice: plain films are taken without an appointment
    image_dated: float = 0.75  # choice: of the others, booked without anybody's help
    at_check_out: float = (
        0.7  # section 2.2: "3 business days (time for check-out to book)"; the share is a choice
    )
    referral_linked: float = 0.75  # section 2.4: a source is fit for explicit links from 60 % on
    image_linked: float = 0.85  # choice: radiology's books carry the order
    consult_timely: float = (
        0.58  # published: 34.8 % of referrals documented complete, of about half that were seen
    )
    consult_late: float = 0.12
    image_timely: float = 0.9  # choice: read within a day
    image_late: float = 0.07
    report_based_on: float = 0.85  # choice: reports that name their order; others name the encounter
    completed_after: float = 0.85  # section 2.2: some EHRs complete an order with its result, some never
    referral_completed_after: float = 0.6
    given_up: float = 0.15  # choice: orders without a visit that are revoked within three months

    # Coverage: section 3.1, "eligibility answers", mid 576
    coverages: float = 1.25  # belief
    answers: float = 1.5  # belief: answers per visit and coverage
    not_in_force: float = 0.04  # belief
    errors: float = 0.06  # belief
    flagged_classes: float = 5.0  # belief: 5 auth-flagged classes per answer
    excluded_classes: float = 1.0  # belief: 1 excluded class
    plans: int = 12  # choice: payers' plans, each with flags of its own
    desk_mends: float = 0.5  # choice: the desk mends half of the coverages not in force by itself
    shown_at_check_in: float = 0.6  # choice: new card shown on the day of the visit
    retried: float = 0.7  # section 2.2: "a machine should retry"
    nameless_errors: float = 0.4  # the mapping language, pitfall 9: "an error answer often names no Coverage"
    authorized_alone: float = 0.3  # section 3.1: 40 % of physicians have staff for nothing else
    outages: float = 0.05  # belief: "payer outage 1" of 96 gated tasks; one in twenty days

    # People
    stays: float = 8.0  # section 3.1, gated: 7 discharges a day home, some elsewhere
    stay_days: float = 4.5  # choice
    ward_orders: float = 5.0  # section 2.1: "inpatient nursing orders are ServiceRequests"
    deaths: float = 0.7  # choice: 0.9 % a year
    merges: float = 0.2  # choice
    touches: float = 500.0  # choice: saved without a change that matters
    inactive: float = 0.01  # choice
    new_insurance: float = 5.0  # choice: 6 % of patients a year change plan

    # Coordinators: section 3.1, "a coordinator closes 25–35 a day"; "five coordinators"
    coordinators: int = 5
    closes_a_day: float = 30.0
