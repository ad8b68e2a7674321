//! Bad input gets a sentence: every rule of the definitions and every policy of the chart, tried on a real API server with the
//! chart as helm renders it. What is refused, and in which words, is one snapshot.
//!
//! One control plane for all of it, as starting one takes seconds.

mod admit;
mod render;

use admit::refusals::Refusals;
use admit::{Cluster, cases, coverage, examples, policies, release, rights, workloads};
use anyhow::Result;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_refused_in_these_words_and_all_else_is_let_through() -> Result<()> {
    let t0 = std::time::Instant::now();
    let cluster = Cluster::start().await?;
    eprintln!("start {:?}", t0.elapsed());
    release::definitions_and_objects_outlive_the_release(&cluster).await?;
    eprintln!("    release::definitions_and_objects_outlive_the_r {:?}", t0.elapsed());
    let chart = cluster.install_rendered_chart().await?;
    eprintln!("    let chart  clusterinstall_rendered_chartawait {:?}", t0.elapsed());
    let mut refusals = Refusals::default();
    cases::each_is_accepted_or_rejected_as_it_is_named(&cluster, &mut refusals).await?;
    eprintln!("    cases::each_is_accepted_or_rejected_as_it_is_n {:?}", t0.elapsed());
    policies::each_refuses_what_it_is_for_and_no_more(&cluster, &mut refusals).await?;
    eprintln!("    policies::each_refuses_what_it_is_for_and_no_m {:?}", t0.elapsed());
    coverage::every_rule_has_been_broken(&refusals)?;
    eprintln!("    coverage::every_rule_has_been_brokenrefusals {:?}", t0.elapsed());
    coverage::every_policy_has_refused(&refusals, &chart)?;
    eprintln!("    coverage::every_policy_has_refusedrefusals cha {:?}", t0.elapsed());
    workloads::pods_meet_the_restricted_standard(&cluster, &chart).await?;
    eprintln!("    workloads::pods_meet_the_restricted_standardcl {:?}", t0.elapsed());
    examples::each_applies_and_applying_it_again_changes_nothing(&cluster).await?;
    eprintln!("    examples::each_applies_and_applying_it_again_c {:?}", t0.elapsed());
    insta::assert_snapshot!("refusals", refusals);
    eprintln!("    insta::assert_snapshotrefusals refusals {:?}", t0.elapsed());
    insta::assert_snapshot!("rights", rights::table(&cluster).await?);
    eprintln!("    insta::assert_snapshotrights rights::tableclus {:?}", t0.elapsed());
    Ok(())
}
