//! Fleetform from end to end: a real control plane, the chart, the operator and the simulator as programs with their own
//! tokens, TLS, and activation codes read from their pictures.
//!
//! All tests share one installation and have namespaces of their own. Those that kill something run alone.

mod access;
mod activation;
mod admins;
mod api_proxy;
mod audit;
mod authority;
mod backlog;
mod configuration;
mod consent;
mod crash;
mod deactivation;
mod deletion;
mod devices;
mod directory;
mod docs;
mod failures;
mod floor;
mod gateway;
mod hostile;
mod identity_center;
mod invitation;
mod keys;
mod leaving;
mod library;
mod machines;
mod network;
mod never_lost;
mod operation;
mod patches;
mod people;
mod personal;
mod presence;
mod project;
mod quota;
mod race;
mod raw;
mod reading;
mod receiver;
mod recipes;
mod releases;
mod rollout;
mod scenario;
mod scope;
mod serving;
mod sinks;
mod software;
mod stage;
mod trail;
mod upgrade;
mod waiting;
mod wire;
mod works;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use stage::{Company, Theatre};

/// Most tests wait more than they work.
const AT_ONCE: usize = 6;

macro_rules! tests {
    ($theatre:expr, $company:expr, $($module:ident { $($test:ident,)* })*) => {
        vec![$($({
            let theatre = Arc::clone($theatre);
            let name = concat!(stringify!($module), "::", stringify!($test));
            Trial::test(name, move || theatre.perform($company, |stage| Box::pin($module::$test(stage))))
        },)*)*]
    };
}

/// Those that share the stage.
#[allow(clippy::too_many_lines, reason = "one line for each test")]
fn together(theatre: &Arc<Theatre>) -> Vec<Trial> {
    tests! { theatre, Company::Welcome,
        library {
            the_example_fleet_goes_to_active,
        }
        docs {
            the_first_page_works_as_it_stands,
            the_page_on_operations_works_as_it_stands,
            the_page_on_rollouts_works_as_it_stands,
            the_page_on_configuration_works_as_it_stands,
            the_page_on_machines_works_as_it_stands,
            the_page_on_devices_works_as_it_stands,
            the_page_on_people_works_as_it_stands,
            the_page_on_admins_works_as_it_stands,
            the_page_on_keys_works_as_it_stands,
            the_page_on_tags_works_as_it_stands,
            the_page_on_audit_works_as_it_stands,
            what_the_pages_declare_is_accepted,
        }
        activation {
            a_device_is_activated_by_its_picture,
            a_device_that_lost_the_answer_gets_it_again,
            an_expected_asset_tag_keeps_other_hardware_out,
        }
        failures {
            what_the_device_decides_itself,
            codes_that_are_not_recognized,
            a_deleted_instance_and_a_deleted_site_are_told_apart,
            a_wrong_zip_is_retried_and_the_fifth_burns_the_code,
            an_address_that_cannot_be_read_is_a_system_error,
        }
        authority {
            devices_follow_a_rotation_whether_they_are_on_or_off,
        }
        race {
            of_two_devices_with_one_code_exactly_one_wins,
            one_device_that_asks_twice_at_once_is_activated_once,
        }
        quota {
            gateways_over_quota_wait_and_what_is_active_is_served_on,
            sites_over_quota_wait_and_so_does_what_stands_there,
        }
        presence {
            health_and_silence_become_conditions_and_events,
            a_device_that_flaps_is_held_back,
        }
        configuration {
            a_changed_template_reaches_the_device,
            a_changed_override_reaches_the_device,
            a_revision_that_is_gone_is_made_anew,
            every_version_has_an_address_and_stays_as_it_is,
        }
        software {
            a_release_is_installed_at_activation_and_while_active,
            a_slow_download_shows_how_far_it_is,
            what_is_not_the_release_is_refused_and_said_why,
            a_refused_change_holds_the_rollout,
        }
        scenario {
            every_scenario_shows_what_it_says,
        }
        network {
            new_credentials_reach_the_device_by_their_secret_alone,
            a_change_that_cuts_the_device_off_is_undone_by_the_device,
            a_gateway_that_is_away_makes_no_network_wrong,
        }
        rollout {
            a_change_goes_out_one_device_at_a_time,
            a_device_that_turns_critical_holds_the_rest,
            a_device_that_falls_silent_with_the_change_holds_the_rest,
            a_rollout_by_sites_takes_who_joins_and_who_leaves,
        }
        deactivation {
            a_raised_epoch_ends_the_association_and_the_instance_can_be_activated_again,
            a_mode_changes_after_deactivation_only,
        }
        waiting {
            what_is_missing_is_named_and_awaited,
            a_name_that_somebody_else_has_is_named_and_awaited,
            a_person_is_told_by_an_event,
        }
        deletion {
            an_instance_takes_its_code_along,
            what_is_in_use_is_not_deleted,
            a_namespace_goes_when_nothing_in_it_is_active,
        }
        access {
            the_simulator_sees_what_an_installer_sees,
            an_installer_sees_one_project_and_no_configuration,
            an_installer_sees_what_there_is_to_activate_at_a_site,
        }
        operation {
            a_reboot_is_done_once_and_its_course_is_shown,
            a_tampered_device_obeys_nothing_until_it_is_unlocked,
            a_device_that_was_away_too_long_is_asked_after,
            the_locks_of_a_site_are_answered_in_one_step,
            a_copied_device_is_locked,
            a_device_that_is_withdrawn_says_so,
            two_devices_with_one_asset_tag_are_noticed,
        }
        machines {
            sensors_are_commissioned_through_their_gateway,
            a_sensor_is_moved_to_another_gateway_and_off_the_machine,
            what_was_measured_elsewhere_is_not_brought_along,
            a_fault_is_one_alert_from_its_first_sign_to_what_it_was,
            measurements_write_nothing,
            a_silent_gateway_hides_its_sensors,
            charts_are_for_who_may_see_them,
        }
        consent {
            a_consent_that_nobody_can_have_given_enrolls_nobody,
        }
        leaving {
            a_project_stays_while_people_are_enrolled,
        }
        keys {
            a_project_moves_between_keys_and_nobody_notices,
            a_key_that_is_withdrawn_closes_the_project_and_opens_it_when_it_is_back,
            a_key_that_cannot_be_used_takes_nothing_away,
        }
        directory {
            both_directories_do_the_same,
            an_outside_directory_that_is_away_takes_and_gives_nothing,
            a_project_goes_although_its_directory_is_away,
        }
        people {
            a_person_enrolls_and_is_recognised,
            what_fails_at_a_desk_or_a_door_is_told_once_and_by_its_reason,
            somebody_who_is_deleted_is_forgotten_by_every_device,
            who_may_read_profiles_sees_the_whole_badge_and_nobody_else,
        }
        personal {
            nothing_that_is_kept_gives_a_badge_or_a_palm_away,
            recognitions_write_nothing,
        }
        admins {
            roles_are_given_changed_and_taken,
            nobody_makes_themselves_more_than_they_are,
            a_project_that_has_an_admin_keeps_one,
        }
        invitation {
            who_gets_a_role_is_written_to,
            a_letter_is_for_those_who_give_roles,
        }
        backlog {
            what_a_sink_lacks_outlives_the_object_and_the_operator,
            what_event_bridge_refuses_is_a_dead_letter_and_the_rest_arrives,
        }
        never_lost {
            no_event_is_lost_whatever_dies_at_random,
            no_event_is_lost_when_the_operator_dies_at_each_write,
            no_event_is_lost_when_the_operator_dies_of_what_it_keeps,
        }
        recipes {
            a_queue_a_page_and_a_receiver_get_what_they_are_for,
        }
        sinks {
            events_go_to_several_sinks_and_one_that_is_away_delays_no_other,
        }
        scope {
            a_role_at_a_site_comes_and_goes_with_the_site,
            so_many_have_a_role_at_a_site_and_no_more,
            an_admin_of_a_site_works_there_and_becomes_no_more,
        }
        reading {
            each_role_reads_what_it_may_and_nothing_else,
        }
        trail {
            the_log_of_the_api_server_becomes_records,
            what_portal_and_gateway_do_is_recorded,
            only_who_may_hands_events_in,
        }
        hostile {
            bad_requests_get_problem_bodies,
            slow_and_many_clients_do_not_hurt_others,
        }
    }
}

/// Those that have it to themselves.
fn alone(theatre: &Arc<Theatre>) -> Vec<Trial> {
    tests! { theatre, Company::Alone,
        upgrade {
            an_object_that_does_not_read_stops_only_itself,
        }
        deletion {
            the_device_of_a_deleted_instance_is_told_and_wipes_itself,
        }
        scope {
            no_role_is_given_at_a_site_without_the_policy_that_narrows_it,
        }
        leaving {
            an_instance_that_does_not_read_is_waited_for,
        }
        people {
            a_device_that_stays_away_is_deactivated_or_given_up_on,
            people_outlive_the_operator,
            a_desk_that_lost_the_answer_enrolls_nobody_again,
        }
        keys {
            a_project_that_lost_its_data_key_says_whom_it_lost_and_goes_on,
        }
        rollout {
            a_rollout_outlives_the_operator,
        }
        machines {
            a_fault_outlives_the_operator,
        }
        works {
            two_thousand_sensors_are_heard_and_write_nothing,
        }
        patches {
            of_thousands_of_races_for_one_code_each_has_one_winner,
        }
        trail {
            an_api_server_hands_its_events_in,
        }
        quota {
            projects_over_quota_wait_until_one_is_deleted,
        }
        crash {
            an_operator_that_is_killed_in_the_middle_of_a_wave_loses_nothing,
            an_operator_that_is_asked_to_end_hands_over_at_once,
            a_certificate_is_renewed_before_and_after_its_end,
            a_lost_key_is_not_made_anew_while_devices_count_on_it,
            a_simulator_that_is_killed_goes_on_with_its_devices,
            an_api_server_that_dies_is_waited_for,
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let theatre = Arc::new(Theatre::new());
    let mut trials = together(&theatre);
    trials.extend(alone(&theatre));
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Whatever runs ends before the verdict is given.
    theatre.close();
    conclusion.exit_code()
}
