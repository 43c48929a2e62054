"""Which test holds which of the consistency rules, and by which edit of the product each was seen to go red.

The numbers are those of the list of executions that would lose, double or resurrect work. ``Edit`` takes a rule
out: ``python -m tests.consistency.mutate`` makes a copy of the project, takes one rule out after the other, and
says whether its tests notice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """One text of a file of ``adapter/`` put in the place of another."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Entry:
    """A rule in a few words, the tests that hold it, and how it is taken out (F1 to F40)."""

    rule: str
    tests: tuple[str, ...]
    out: tuple[Edit, ...] = ()


def _rule(rule: str, *tests: str, out: tuple[Edit, ...] | Edit = ()) -> Entry:
    named = tuple(f"tests/{test}" for test in tests)
    return Entry(rule, named, (out,) if isinstance(out, Edit) else out)


_ABSENCE, _SILENCE = "consistency/test_f_absence.py::", "consistency/test_f_silence.py::"
_RULES, _PERSONS = "consistency/test_f_rules.py::", "consistency/test_f_persons.py::"
_SERVERS = "consistency/test_f_servers.py::"
_WALKS, _POLLER, _READING = (
    "polling/test_walks.py::",
    "polling/test_poller.py::",
    "polling/test_reading.py::",
)
_SWEEP, _WALK = "polling/test_sweep.py::", "polling/test_walk.py::"
_DELIVERY, _OWNERS, _RENDER = (
    "writeback/test_delivery.py::",
    "writeback/test_owners.py::",
    "writeback/test_render.py::",
)
_IDENTITY, _CHANGES = "writeback/test_identity.py::", "reconcile/test_changes.py::"
_LOOKS, _STORE, _OUTBOX = "ledger/test_looks.py::", "ledger/test_store.py::", "ledger/test_outbox.py::"
_DATABASE, _EVALUATE, _LOADER = (
    "ledger/test_database.py::",
    "mapping/test_evaluate.py::",
    "mapping/test_loader.py::",
)
_COVERAGE, _LINKS, _PATIENT = (
    "facts/test_coverage.py::",
    "facts/test_links.py::",
    "facts/test_patient.py::",
)
_CALENDAR, _CYCLE = "mapping/test_calendar.py::", "cycle/test_cycle.py::"

INDEX: Mapping[int, Entry] = {
    1: _rule(
        "a walk is dated by its beginning",
        _WALKS + "test_edits_during_a_walk_longer_than_the_overlap_are_not_lost",
        _WALKS + "test_killed_after_every_page_and_started_again_it_ends_as_a_fresh_ledger",
        _WALKS + "test_out_of_order_the_watermark_does_not_move_before_the_end",
        _WALKS + "test_an_expired_search_goes_on_from_how_far_it_came",
        out=Edit("polling/walk.py", "else min(newest, cap)", "else newest"),
    ),
    2: _rule(
        "nothing is written over a version that the ledger has not taken in",
        _DELIVERY + "test_an_edit_between_read_and_put_outlives_two_revisions",
        _DELIVERY + "test_a_version_not_taken_in_is_never_overwritten",
        _CYCLE + "test_an_edit_between_our_read_and_our_write_is_kept",
        out=Edit("writeback/task_delivery.py", "if same_version(version, task.seen_version):", "if True:"),
    ),
    3: _rule(
        "absence has a date and a range",
        _ABSENCE + "test_f3_a_type_that_is_refused_opens_and_withdraws_nothing",
        _ABSENCE + "test_f3_an_urgent_order_and_its_visit_in_one_pass",
        _ABSENCE + "test_f3_no_task_closes_while_what_else_may_speak_of_its_need_is_unread",
        _ABSENCE + "test_f3_a_cancelled_visit_and_its_replacement_on_different_pages",
        _ABSENCE + "test_f3_what_a_bound_hides_is_read_for_the_patient",
        _EVALUATE + "test_absence_has_to_be_known_since_the_focus_came_and_since_it_acts",
        "reconcile/test_order.py::test_with_types_refused_nothing_opens_that_would_not_open_anyway",
        out=(
            Edit(
                "mapping/scope.py",
                "not self._after_focus(type, known.seq, at):\n            return False",
                "not self._after_focus(type, known.seq, at):\n            return True",
            ),
            Edit(
                "reconcile/changes.py",
                "need.verdict in CLOSING and self._may_be_spoken_of(need, task):",
                "False:",
            ),
        ),
    ),
    4: _rule(
        "silence hangs on values",
        _SILENCE + "test_f4_a_touch_brings_nothing_back",
        _SILENCE + "test_f4_a_new_ledger_leaves_silent_what_a_person_silenced",
        _SILENCE + "test_f4_other_values_bring_one_new_task_that_names_the_old",
        _EVALUATE + "test_silence_hangs_on_values",
        _CHANGES + "test_what_she_closed_stays_closed_though_a_link_gives_its_need_another_name",
        out=(
            Edit("reconcile/changes.py", "[*hers, *([last] if last else [])]", "[*([last] if last else [])]"),
            Edit(
                "reconcile/changes.py",
                "(task.turned or (renews and task.renews != renews))",
                "True",
            ),
            Edit("reconcile/changes.py", "if need.verdict in _NO_LONGER and not task.turned:", "if False:"),
        ),
    ),
    5: _rule(
        "bounds open, and contrary facts withdraw",
        _SILENCE + "test_f5_the_clock_alone_withdraws_nothing",
        _SILENCE + "test_f5_a_visit_moved_to_and_fro_has_one_task",
        _RULES + "test_f5_no_rule_can_bound_itself_by_time",
        _CHANGES + "test_a_bound_gates_opening_only",
        out=Edit(
            "reconcile/changes.py",
            "case Verdict.OPEN | Verdict.OLD | Verdict.WAIT:\n                self._keep(need, task)",
            "case Verdict.OLD | Verdict.WAIT:\n"
            '                self._close(task, EventKind.WITHDRAWN, "contrary", "", need.face)\n'
            "            case Verdict.OPEN:\n                self._keep(need, task)",
        ),
    ),
    6: _rule(
        "the newest answer is told by what the answers say",
        _COVERAGE + "test_no_permutation_of_arrival_changes_the_answer",
        _COVERAGE + "test_the_named_case_bad_good_error_queued_other_purpose",
        _COVERAGE + "test_what_supersedes_nothing",
        out=Edit("facts/coverage.py", '"partial", ""})', '"partial", "", "error", "queued"})'),
    ),
    7: _rule(
        "open work is read again daily, and a sweep compares versions",
        _SERVERS + "test_f7_an_update_that_no_poll_shows_reaches_open_work_next_day",
        _SERVERS + "test_f7_the_sweep_compares_versions",
        _READING + "test_open_work_is_read_again_once_a_business_day",
        _SWEEP + "test_a_hidden_update_and_a_late_create_are_found_and_healed",
        out=(
            Edit("polling/open_work.py", "return row is not None and row.reread_day != day", "return False"),
            Edit("polling/sweep.py", "if _differs(row, held.get(row.ref))", "if row.ref not in held"),
        ),
    ),
    8: _rule(
        "who waits has a next look",
        _ABSENCE + "test_f8_evidence_that_comes_alone_closes_within_a_recheck",
        _ABSENCE + "test_f8_a_stay_that_nobody_closed_holds_for_thirty_days",
        _ABSENCE + "test_f8_a_discharge_is_seen_though_no_poll_shows_it",
        _ABSENCE + "test_f8_a_scope_that_is_granted_is_used_within_an_interval",
        _ABSENCE + "test_f8_nobody_who_waits_is_without_a_next_look",
        out=Edit("reconcile/changes.py", "min(ahead, default=None),", "None,"),
    ),
    9: _rule(
        "what was not kept is unknown",
        _RULES + "test_f9_an_element_that_was_not_kept_is_unknown_and_not_absent",
        _STORE + "test_the_same_version_under_another_element_set_is_kept_anew",
        _WALKS + "test_another_question_starts_anew_and_other_elements_keep_what_is_known",
        out=(
            Edit("mapping/evaluate.py", "return bool(lacks) and not", "return False and not"),
            Edit("ledger/snapshots.py", "        and row.edition == arrival.edition\n", ""),
        ),
    ),
    10: _rule(
        "an anchor ends in the first sight",
        _EVALUATE + "test_no_opens_is_the_onset_and_no_onset_is_the_first_sight",
        _EVALUATE + "test_no_task_is_born_overdue",
        _EVALUATE + "test_a_day_opens_in_the_morning_and_lasts_to_its_end",
        "cycle/test_any_day.py::test_the_stories_hold",
        out=Edit(
            "mapping/evaluate.py",
            "        return self.focus.first_seen or self.focus.received_at, NOTHING",
            "        return None, NOTHING",
        ),
    ),
    11: _rule(
        "the unit of a look is the person; links and changes of patient wake both sides",
        _PERSONS + "test_f11_a_merge_moves_the_task_and_opens_none",
        _PERSONS + "test_f11_a_chain_of_merges_and_its_undoing",
        _PERSONS + "test_f11_two_that_wait_for_one_thing_are_one_after_a_merge",
        _PERSONS + "test_f11_an_order_that_becomes_another_patients",
        _PERSONS + "test_f11_a_participant_that_is_removed_and_put_back",
        _PERSONS + "test_f11_patients_who_are_parted_are_parted_here_too",
        _PERSONS + "test_f11_the_newborns_visit_closes_the_mothers_task",
        _POLLER + "test_a_change_of_patient_wakes_both",
        out=(
            Edit(
                "reconcile/reconciler.py",
                "if there is not None:\n                self._taken",
                "if False:\n                self._taken",
            ),
            Edit("ledger/snapshots.py", "    if strangers:\n", "    if False:\n"),
            Edit(
                "ledger/snapshots.py",
                "linked = _take_links(db, source, page, at)",
                "linked: set[str] = set()",
            ),
            Edit("ledger/queries.py", "AND p.person IN (SELECT person", "AND p.patient IN (SELECT patient"),
        ),
    ),
    12: _rule(
        "floods are counted over their whole cause, and only they wait",
        _RULES + "test_f12_a_flood_is_counted_over_its_whole_cause",
        _RULES + "test_f12_a_released_hold_is_recounted_and_releases_no_later_one",
        _RULES + "test_f12_evidence_that_a_flood_asked_for_does_not_hide_its_cause",
        "cycle/test_floods.py::test_an_edited_mapping_that_withdraws_many_waits_and_all_else_goes_on",
        "cycle/test_floods.py::test_the_hospitals_own_flood_goes_out",
        _RULES + "test_f12_what_goes_beyond_a_busy_day_of_the_hospitals_waits_once",
        _RULES + "test_f12_withdrawals_beyond_a_busy_day_wait_and_her_work_goes_on",
        _RULES + "test_f12_a_day_five_times_the_busiest_is_a_day_like_others",
        _RULES + "test_f12_what_a_day_has_brought_survives_a_restart",
        out=(
            Edit("reconcile/busy.py", "event.task in held or day.is_full(key)", "False"),
            Edit("reconcile/guards.py", "if len(found) > most", "if False"),
            Edit("reconcile/guards.py", " - FOLLOWING", ""),
        ),
    ),
    13: _rule(
        "a value is hers only if Baton never wrote it there",
        _DELIVERY + "test_stale_save_is_restored_once_and_then_hers",
        _OWNERS + "test_stale_save_once_then_hers",
        _OWNERS + "test_stale_requested_does_not_reopen_at_once",
        out=Edit(
            "writeback/owners.py",
            "mark, key = value_digest(value)",
            "return False\n        mark, key = value_digest(value)",
        ),
    ),
    14: _rule(
        "a commit compares what it has read",
        _LOOKS + "test_a_wake_up_during_a_look_survives_it",
        _LOOKS + "test_a_row_that_moved_on_refuses_the_look",
        _LOOKS + "test_looks_of_an_older_edition_are_refused",
        _LOOKS + "test_two_workers_over_every_interleaving_end_as_one_after_the_other",
        _DATABASE + "test_a_kill_at_any_statement_leaves_page_and_watermark_together",
        _DATABASE + "test_no_statement_says_replace",
        out=(
            Edit("ledger/looks.py", "and result.expected == tasks.get(person, _NONE)", "and True"),
            Edit("ledger/looks.py", "gens.get(person) == result.request.gen", "True"),
        ),
    ),
    15: _rule(
        "an attempt is known before it is sent, and nothing follows it before its time is over",
        _DELIVERY + "test_lost_answer_is_ours",
        _DELIVERY + "test_late_write_does_not_take_her_work_back",
        _DELIVERY + "test_killed_between_answer_and_commit",
        _OWNERS + "test_lost_answer_is_ours_even_where_the_row_went_on",
        out=Edit("writeback/owners.py", "if attempt_digest(body, bases, zone) in lost:", "if False:"),
    ),
    16: _rule(
        "who writes is marked in the EHR; what stands there is read before it is made",
        _SERVERS + "test_f16_every_older_copy_of_the_ledger_ends_in_the_same_ehr",
        _IDENTITY + "test_second_ledger_is_refused_then_adopts",
        _IDENTITY + "test_an_older_copy_is_refused_then_adopts_without_reviving",
        _IDENTITY + "test_a_ledger_lost_and_made_again_ends_the_same",
        _DELIVERY + "test_a_second_start_stops_the_first",
        _DELIVERY + "test_found_although_the_ledger_does_not_know_it",
        out=Edit("writeback/identity.py", "if why and not self.take_over:", "if False:"),
    ),
    17: _rule(
        "one row per resource: wanted, sent, lease",
        _OUTBOX + "test_a_wish_during_the_delivery_is_not_lost",
        _OUTBOX + "test_one_delivery_at_a_time",
        _OUTBOX + "test_leases_of_another_incarnation_mean_unknown",
        _DELIVERY + "test_opened_and_closed_before_sending_sends_nothing",
        out=(
            Edit("ledger/queries.py", "WHERE target = ? AND wanted <= sent", "WHERE target = ?"),
            Edit(
                "writeback/task_delivery.py",
                "return not task.open and not task.seen_version and",
                "return False and",
            ),
        ),
    ),
    18: _rule(
        "a restored EHR and a lost route are no deletions",
        _SERVERS + "test_f18_a_restored_ehr_stops_writing_until_a_person_says_go",
        _SERVERS + "test_f18_rows_that_fell_back_stop_writing",
        _SERVERS + "test_f18_when_everything_is_404_nothing_was_deleted",
        _SERVERS + "test_f18_a_lost_write_is_written_again_and_no_person_deleted_it",
        _SERVERS + "test_f18_a_lost_write_of_the_newest_task_is_no_deletion",
        _SERVERS + "test_f18_an_edit_that_was_lost_and_made_again_under_its_number_holds_up_no_write",
        _POLLER + "test_an_empty_search_with_data_behind_it_is_not_believed",
        _READING + "test_a_server_that_finds_nothing_at_all_buries_nothing",
        _DELIVERY + "test_acknowledged_and_lost_is_written_again_once",
        out=(
            Edit("connection.py", "if row.suspect:", "if False:"),
            Edit("polling/open_work.py", "if self._answers(batch):", "if True:"),
            Edit("connection.py", "if done.lost:", "if False:"),
            Edit("polling/poller.py", 'if walker.row.type == "Task":  # 404', "if False:  # 404"),
            Edit("ledger/snapshots.py", "and _same_stamp(row, arrival)", "and True"),
        ),
    ),
    19: _rule(
        "what was withdrawn stays away; a rule that is missing stops the start",
        _RULES + "test_f19_what_a_person_withdrew_stays_away_and_the_rule_off",
        _RULES + "test_f19_a_rule_that_is_gone_leaves_its_tasks_alone",
        _RULES + "test_f19_what_a_rule_no_longer_needs_is_withdrawn_after_four_business_hours",
        _RULES + "test_f19_a_rule_mended_within_four_business_hours_was_never_seen",
        _RULES + "test_f19_a_started_task_bears_no_mark_before_four_business_hours",
        _RULES + "test_f19_what_the_hospital_takes_back_is_withdrawn_at_once",
        _RULES + "test_f19_a_rule_that_is_missing_without_a_word_stops_the_start",
        _RULES + "test_f19_a_need_that_is_worded_anew_finds_its_silent_tasks",
        _LOADER + "test_a_file_cut_anywhere_is_refused_or_the_same",
        _LOADER + "test_no_cut_point_of_a_framed_file_parses",
        out=(
            Edit("reconcile/changes.py", '"deleted", "command"})', '"deleted"})'),
            Edit("reconcile/editions.py", "    if faults:", "    if False:"),
            Edit("reconcile/changes.py", "if not t.open and need.speaks_of(t.rule, t.focus)", "if False"),
            Edit("reconcile/changes.py", "Duration(4, Unit.BUSINESS_HOURS)", "Duration(0, Unit.HOURS)"),
        ),
    ),
    20: _rule(
        "one need, one task, whoever says so",
        _CHANGES + "test_a_group_visit_makes_a_task_for_each_participant",
        _CHANGES + "test_two_rules_of_one_need_make_one_task_with_the_face_of_the_lower_rank",
        _CHANGES + "test_a_task_that_another_rule_keeps_says_what_that_rule_says",
        _CHANGES + "test_a_visit_that_leaves_an_order_has_a_need_of_its_own_and_the_order_keeps_its_task",
        _CHANGES + "test_needs_that_become_one_leave_one_task",
        _CHANGES + "test_what_is_unknown_for_one_rule_closes_nothing_by_another",
        _CHANGES + "test_a_link_that_arrives_later_changes_the_need_and_not_the_task",
        _LINKS + "test_an_order_inherits_what_it_replaces",
        _LOOKS + "test_nobody_opens_twice",
        out=(
            Edit("reconcile/needs.py", 'return chart.person if others else ""', 'return ""'),
            Edit("reconcile/changes.py", "if own and judge(own[0], self.now) in STANDING:", "if own:"),
        ),
    ),
    21: _rule(
        "a refused access parks nothing; refused content parks itself alone",
        _DELIVERY + "test_refused_access_parks_nothing_and_ends_the_round",
        _DELIVERY + "test_refused_content_is_parked_and_tried_again_when_it_changes",
        _OUTBOX + "test_parked_is_due_again_when_more_is_wanted_or_a_day_later",
        out=Edit(
            "writeback/deliver.py",
            "            report.refused = True\n            self._later(row, now, failed=False)\n",
            '            self.ledger.park(row.target, "refused")\n',
        ),
    ),
    22: _rule(
        "an update is what was read with our own paths replaced",
        _RENDER + "test_an_update_replaces_own_paths_only",
        _RENDER + "test_nothing_changes_but_last_modified_where_nothing_has_changed",
        out=Edit(
            "writeback/merge.py",
            "    result = dict(base)\n    for name in _WHOLE",
            "    result = dict(own)\n    for name in _WHOLE",
        ),
    ),
    23: _rule(
        "a newest version that cannot be read makes the held one unknown",
        _POLLER + "test_a_newer_version_that_cannot_be_read_makes_the_held_one_unknown_and_wakes",
        _CHANGES + "test_a_focus_in_quarantine_withdraws_nothing",
        out=Edit(
            "reconcile/changes.py",
            "if snapshot.state in (SnapshotState.DELETED,",
            "if snapshot.state in (SnapshotState.QUARANTINED, SnapshotState.DELETED,",
        ),
    ),
    24: _rule(
        "a page that cannot be read is halved until the row is alone",
        _POLLER + "test_a_page_that_cannot_be_read_is_halved_until_the_row_is_alone",
        _POLLER + "test_a_page_beyond_the_limit_is_asked_for_in_smaller_pieces",
        out=Edit(
            "polling/walker.py",
            "            if window.tries == 0:",
            "            if window.tries:\n                raise NotFhir(self._why)\n            if window.tries == 0:",
        ),
    ),
    25: _rule(
        "an element that she has set is never written",
        _SILENCE + "test_f25_a_mark_never_takes_the_place_of_what_she_set",
        _SILENCE + "test_f25_what_she_did_last_counts_before_a_marked_task_closes_itself",
        _RENDER + "test_what_is_hers_is_never_written",
        _RENDER + "test_her_reason_stays_and_ours_goes",
        _CHANGES + "test_a_mark_is_taken_back_when_the_answer_turns",
        out=(
            Edit(
                "writeback/merge.py",
                "if held is not None and not codes.code_in(held, codes.STATUS_REASON):",
                "if False:",
            ),
            Edit("reconcile/changes.py", "        if task.mark:\n", "        if False:\n"),
            Edit("reconcile/changes.py", "elif self._hers_is_known(task, at):", "else:"),
        ),
    ),
    26: _rule(
        "going live is a date, not a load",
        _RULES + "test_f26_what_is_older_than_go_live_is_old_whenever_it_becomes_known",
        _RULES + "test_f26_a_new_rule_goes_live_with_its_source",
        _EVALUATE + "test_bounds_only_mark_as_old",
        out=Edit("mapping/age.py", "        if live_from:\n", "        if False:\n"),
    ),
    27: _rule(
        "while nobody can see a task, no step counts as done",
        _RULES + "test_f27_switching_writing_on_sends_what_is_open_and_no_history",
        out=Edit("reconcile/changes.py", "if not self.chart.source.writes:", "if False:"),
    ),
    28: _rule(
        "a timed step is taken on what is known since its moment",
        _ABSENCE + "test_f28_after_downtime_people_come_before_deadlines",
        _ABSENCE + "test_f28_no_step_while_nobody_knows_what_she_did",
        out=Edit("reconcile/changes.py", "if read or not task.seen_version:", "if True:"),
    ),
    29: _rule(
        "what the server makes of a write is no difference",
        _SERVERS + "test_f29_whatever_the_server_makes_of_a_write_it_is_written_once",
        _DELIVERY + "test_a_lossy_server_is_not_written_over_and_over",
        _DELIVERY + "test_the_third_rewrite_is_the_last",
        out=(
            Edit(
                "writeback/sending.py",
                "settled = [p for p in changed if",
                "settled = [p for p in changed if False and",
            ),
            Edit("writeback/sending.py", "count >= REWRITES", "count < 0"),
        ),
    ),
    30: _rule(
        "a need returns a business day after its end, and the fourth time in a month waits",
        _SILENCE + "test_f30_a_visit_that_comes_and_goes_makes_no_task_each_time",
        _SILENCE + "test_f30_the_fourth_within_a_month_waits_for_a_person",
        _CHANGES + "test_a_need_that_returns_after_evidence_is_a_new_task_a_business_day_later",
        out=(
            Edit(
                "reconcile/changes.py",
                "if self.now < at and need.face.priority is not Priority.STAT:",
                "if False:",
            ),
            Edit("reconcile/changes.py", "elif self._comes_and_goes(task) and", "elif False and"),
        ),
    ),
    31: _rule(
        "no rule can ask for needs of ours",
        _RULES + "test_f31_no_rule_can_ask_for_needs_of_ours",
        out=Edit(
            "mapping/analysis.py", '{"resource", "ref", *FACT', '{"tasks", "needs", "resource", "ref", *FACT'
        ),
    ),
    32: _rule(
        "what has left the filter is followed while it is held",
        _SERVERS + "test_f32_a_resource_that_leaves_the_filter_is_followed",
        _SERVERS + "test_f32_a_held_row_is_stored_though_its_stamp_lies_before_since",
        out=(
            Edit("polling/open_work.py", "return row is not None and row.reread_day != day", "return False"),
            Edit(
                "polling/walker.py",
                "set(outside) - set(self.context.ledger.inventory_of(self.row.source, outside))",
                "set(outside)",
            ),
        ),
    ),
    33: _rule(
        "our Tasks are read by id, whatever the search shows",
        _SERVERS + "test_f33_a_search_that_does_not_show_our_tasks_loses_no_edit",
        out=Edit("polling/open_work.py", "return row is not None and row.reread_day != day", "return False"),
    ),
    34: _rule(
        "a copy of our Task is reported and not touched",
        _SERVERS + "test_f34_a_copy_of_our_task_is_neither_touched_nor_read",
        _DELIVERY + "test_a_copy_is_reported_and_not_touched",
        _IDENTITY + "test_copies_are_reported",
        out=Edit("writeback/adopt.py", ' or body.get("id") != f"b-{own}":', ":"),
    ),
    35: _rule(
        "a plan names only Tasks that the EHR has acknowledged",
        _RENDER + "test_plan_names_only_acknowledged_open_and_recent_tasks",
        _OUTBOX + "test_tasks_go_before_plans",
        out=Edit(
            "writeback/render_plan.py", "return bool(task.seen_version) and not task.gone and", "return"
        ),
    ),
    36: _rule(
        "of a plan Baton owns its status, period, block and activities",
        _RENDER + "test_plan_keeps_an_activity_that_somebody_added_to",
        _DELIVERY + "test_plan_keeps_what_clinicians_add",
        out=Edit(
            "writeback/render_plan.py",
            "    return ours and ref not in wanted and set(one)",
            "    return ref not in wanted or set(one)",
        ),
    ),
    37: _rule(
        "entered in error is her deletion",
        _SERVERS + "test_f37_a_task_entered_in_error_is_deleted",
        _DELIVERY + "test_entered_in_error_and_a_taken_identifier_count_as_deletion",
        _CYCLE + "test_an_order_with_a_closed_task_can_be_deleted",
        out=Edit(
            "writeback/owners.py", 'if body.get("status") == TaskStatus.ENTERED_IN_ERROR or not', "if not"
        ),
    ),
    38: _rule(
        "nothing opens without a Patient that was read",
        _PATIENT + "test_nothing_opens_without_a_fresh_patient",
        "cycle/test_whole_days.py::test_a_death_stops_open_work_at_once_and_nothing_opens_after_it",
        out=Edit("facts/patient.py", 'if state == "alive" and not _fresh(', "if False and not _fresh("),
    ),
    39: _rule(
        "a death holds at once and withdraws the next business day",
        _SILENCE + "test_f39_a_death_by_mistake_is_undone_with_her_notes",
        _SILENCE + "test_f39_a_death_that_is_undone_lets_work_open_that_waited",
        _CHANGES + "test_death_holds_at_once_withdraws_next_business_day_and_can_be_undone",
        _CHANGES + "test_death_marks_started_work_and_never_closes_it",
        out=(
            Edit(
                "reconcile/changes.py",
                "        if self.now < at:\n            self.looks.append(at)\n            return\n"
                "        self._end(task",
                "        self._end(task",
            ),
            Edit(
                "reconcile/changes.py", "self.guard.missing or self._patient_if_old()", "self.guard.missing"
            ),
        ),
    ),
    40: _rule(
        "an answer counts only if it was asked for after the held one came",
        _WALKS + "test_an_answer_that_was_overtaken_is_read_by_id",
        _STORE + "test_an_answer_asked_for_before_the_held_one_came_does_not_count",
        "polling/test_any_order.py::test_any_edits_in_any_order_end_as_the_server_stands",
        out=Edit(
            "ledger/snapshots.py",
            "elif row is not None and arrival.sent_seq <=",
            "elif row is not None and 0 >",
        ),
    ),
    41: _rule(
        "a delete in a history is confirmed by a read",
        _POLLER + "test_what_was_deleted_and_made_again_is_alive",
        _POLLER + "test_a_delete_that_stands_below_an_edit_in_the_history_is_seen",
    ),
    42: _rule(
        "the overlap stands in the watermark, and lateness raises it",
        _WALKS + "test_the_query_asks_from_the_watermark_with_milliseconds_sorted_and_uncached",
        _WALKS + "test_a_row_that_came_late_raises_the_overlap_to_twice_its_lateness",
        _WALK + "test_lateness_raises_the_overlap_to_twice_itself_and_at_most_an_hour",
    ),
    43: _rule(
        "many rows of one instant are not read for ever",
        _WALKS + "test_many_rows_of_one_instant_are_not_read_for_ever",
    ),
    44: _rule(
        "what wakes is the digest of what is kept",
        "facts/test_keep.py::test_noise_changes_only_the_digest_of_the_whole",
        _STORE + "test_another_version_or_element_set_of_the_same_content_wakes_nobody",
    ),
    46: _rule(
        "another server's address is never ours",
        "facts/test_keep.py::test_own_addresses_are_ours_and_others_are_not",
        _LINKS + "test_what_names_no_order_of_ours",
    ),
    47: _rule(
        "an identifier names the one person who bears it, and one without a system nobody",
        _PERSONS + "test_f47_an_identifier_without_a_system_is_nobodys",
        _PERSONS + "test_f47_who_is_named_by_an_identifier_is_searched_for",
        _PERSONS + "test_f47_a_patient_who_is_read_takes_what_has_waited_for_him",
        _PERSONS + "test_f47_an_identifier_of_two_patients_links_nobody_and_says_so",
        _PERSONS + "test_f47_two_patients_of_one_person_are_no_two",
        _PERSONS + "test_f47_a_visit_by_identifier_closes_the_task_of_its_patient",
        _PERSONS + "test_f47_an_order_that_is_read_again_stays_whose_it_is",
        _PERSONS + "test_f47_who_is_nowhere_is_asked_for_ever_less_often",
        "ledger/test_identified.py::test_whatever_comes_in_whatever_order",
        _READING + "test_a_search_that_ignores_the_identifier_is_not_believed",
        "facts/test_coverage.py::test_contained_and_logical_coverages",
        out=(
            Edit(
                "ledger/snapshots.py",
                "found = list(identified.moved(db, source, marks)) if marks else []",
                "found: list[identified.Moved] = []",
            ),
            Edit("connection.py", "        mine.errors += self._patients.find_named().errors\n", ""),
            Edit(
                "ledger/identified.py",
                "        if len(persons_) == 1:\n            [patients] = persons_.values()\n",
                "        for patients in persons_.values():\n",
            ),
        ),
    ),
    48: _rule(
        "a retry reads by id, and a good version clears the entry",
        _POLLER + "test_a_retry_reads_the_resource_and_never_replays_the_bytes",
        _POLLER + "test_a_good_version_clears_the_quarantine",
    ),
    49: _rule("expiry drops bytes, never entries", _STORE + "test_expiry_drops_bytes_never_entries"),
    50: _rule("a rule that fails is unknown", _EVALUATE + "test_an_error_is_unknown_and_told_without_values"),
    51: _rule(
        "a moved server has to hold what is known",
        "cycle/test_identity.py::test_a_new_address_needs_a_person_and_the_same_resources",
    ),
    52: _rule(
        "a source's key outlives its name", "cycle/test_identity.py::test_a_renamed_source_keeps_its_tasks"
    ),
    53: _rule("one EHR is one source", _IDENTITY + "test_one_ehr_is_one_source"),
    54: _rule(
        "environment and namespace must agree with the mark",
        _IDENTITY + "test_environment_must_agree_even_when_taking_over",
        _IDENTITY + "test_a_drawn_namespace_is_refused_beside_another_baton",
    ),
    55: _rule("without a mark nothing is created", _DELIVERY + "test_without_a_mark_nothing_is_created"),
    56: _rule(
        "each demo has a run of its own",
        "writeback/test_purge.py::test_everything_of_the_run_and_nothing_else",
    ),
    57: _rule(
        "a dry run works on a copy",
        _CYCLE + "test_a_dry_run_says_what_it_would_write_and_writes_nothing",
        _DELIVERY + "test_dry_run_sends_and_stores_nothing",
    ),
    58: _rule(
        "now is the server's, and a clock that differs is told first",
        "service/test_service.py::test_a_clock_that_differs_is_told_before_anything_opens",
        "invariants/test_clocks.py::test_a_date_that_jumps_alone_acts_on_nothing",
        "invariants/test_clocks.py::test_a_clock_that_is_a_year_ahead_opens_and_escalates_nothing",
    ),
    59: _rule(
        "a step is known by anchor, offset and effect",
        _SERVERS + "test_f59_a_due_date_that_she_moves_brings_its_steps_with_it",
        _EVALUATE + "test_steps_are_known_by_offset_and_effect",
        _CHANGES + "test_escalation_takes_each_step_once_and_only_raises",
    ),
    60: _rule(
        "hours pass in UTC, days in local dates",
        _CALENDAR + "test_hours_pass_in_utc_and_days_in_local_dates",
        _CALENDAR + "test_a_time_that_comes_twice_is_the_earlier_and_a_missing_one_the_later",
        "invariants/test_business_time.py::test_days_and_hours_as_the_calendar_on_the_wall_counts_them",
    ),
    61: _rule("no rule can ask for the time", _RULES + "test_f61_no_rule_can_ask_for_the_time"),
    62: _rule(
        "a visit is used once", _LINKS + "test_a_visit_is_used_once_by_number_whatever_the_order_of_rows"
    ),
    63: _rule(
        "a refused reference is read first",
        _DELIVERY + "test_deleted_focus_is_looked_at_and_nothing_sent",
        _DELIVERY + "test_a_kind_that_the_server_lacks_becomes_logical",
    ),
    64: _rule(
        "evidence with a warning is no absence",
        _ABSENCE + "test_f64_evidence_with_a_warning_is_no_absence",
        _READING + "test_a_warning_leaves_the_absence_unknown",
        _READING + "test_a_server_that_ignores_the_patient_is_not_believed",
    ),
    66: _rule("routing by a system starts nothing", _OWNERS + "test_routing_by_the_ehr_starts_nothing"),
    67: _rule(
        "verbs beside the service leave commands",
        "service/test_service.py::test_a_withdrawal_is_done_by_the_running_service",
        "service/test_service.py::test_a_pause_is_heeded_and_a_resume_too",
    ),
    68: _rule("an export is a whole ledger", "ledger/test_rebuild.py::test_export_is_a_whole_ledger"),
    69: _rule(
        "one person's failing look stops nobody else's",
        _LOOKS + "test_a_faulty_result_stores_nothing_of_any",
        _LOOKS + "test_failures_count_on_and_news_ends_the_rest",
        "reconcile/test_damaged.py::test_a_damaged_row_stops_the_look_at_its_patient_alone",
    ),
    70: _rule(
        "people and deadlines come before editions",
        _LOOKS + "test_requests_come_in_order_of_cause_then_of_waiting",
    ),
    71: _rule(
        "lastModified is never before authoredOn", _RENDER + "test_last_modified_is_never_before_authored"
    ),
    74: _rule(
        "pages in circles are read in shorter windows",
        _WALKS + "test_pages_that_go_in_circles_are_read_in_shorter_windows",
    ),
    76: _rule(
        "a type that is missing silences only the rules that need it",
        _ABSENCE + "test_f76_a_type_that_the_server_lacks_silences_only_the_rules_that_need_it",
        _POLLER + "test_a_refused_type_is_blind_with_a_reason_and_the_others_go_on",
    ),
}

#: Not applicable so far, each with the reason.
LATER: Mapping[int, str] = {
    45: "links between an EHR and a payer source: there are no payer sources yet",
    65: "creating on servers that draw the ids: such creations are parked with a clear code",
    72: "there is no quarter of an hour for care plans: they are written with their tasks",
    73: "resources that are invisible and not gone: unknown and silent, not listed apart yet",
    75: "a Task's groupIdentifier is the flood's group; the care plan names its Tasks by activity",
}
"""Rules for which there is nothing yet, and why."""

PARTLY: Mapping[int, str] = {}
"""Rules of the index of which a part is missing."""
