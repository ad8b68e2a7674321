//! Bad input gets a sentence: every rule of the definitions and every policy of the chart, tried on a real API server with the
//! chart as helm renders it. What is refused, and in which words, is one snapshot.
//!
//! One control plane for all of it, as starting one takes seconds.

mod admit;
mod render;

use admit::refusals::Refusals;
use admit::{Cluster, cases, coverage, examples, matrix, policies, release, rights, workloads};
use anyhow::Result;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_refused_in_these_words_and_all_else_is_let_through() -> Result<()> {
    let cluster = Cluster::start().await?;
    release::definitions_and_objects_outlive_the_release(&cluster).await?;
    let chart = cluster.install_rendered_chart().await?;
    let refusals = Refusals::default();
    let ((), (), (), (), rights, matrix) = tokio::try_join!(
        cases::each_is_accepted_or_rejected_as_it_is_named(&cluster, &refusals),
        policies::each_refuses_what_it_is_for_and_no_more(&cluster, &refusals),
        workloads::pods_meet_the_restricted_standard(&cluster, &chart),
        examples::each_applies_and_applying_it_again_changes_nothing(&cluster),
        rights::table(&cluster),
        matrix::table(&cluster),
    )?;
    coverage::every_rule_has_been_broken(&refusals)?;
    coverage::every_policy_has_refused(&refusals, &chart)?;
    coverage::the_documentation_has_every_sentence(&refusals)?;
    insta::assert_snapshot!("refusals", refusals);
    insta::assert_snapshot!("rights", rights);
    insta::assert_snapshot!("matrix", matrix);
    Ok(())
}
