//! Letters to people who got a role: by a real mail server, and as drafts.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use fleetform_crds::AdminUser;
use fleetform_crds::condition::{ConditionType, Reason, has_reason, status_of};
use fleetform_domain::admin::Role;
use fleetform_domain::wire::admin_user_invitation_path;
use fleetform_e2e::control_plane::free_ports;
use fleetform_e2e::installation::AUDIENCE;
use fleetform_e2e::stand_ins::MailServer;
use fleetform_e2e::wait::{self, Look};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

use super::admins::{as_person, person, until_gone, until_has};
use super::project::{LIMIT, Project, SITE};
use super::raw::{Answer, exchange, request};
use super::stage::Stage;
use super::trail;

/// What the operator signs in with at the mail server.
const PASSWORD: &str = "correct-horse";

/// Waits until a letter stands like this.
async fn until_invited(project: &Project, name: &str, status: &str, reason: Reason) -> Result<AdminUser> {
    let what = format!("invited: {status} {}", reason.as_str());
    project
        .until_any(name, &what, |user: &AdminUser| {
            user.status.as_ref().is_some_and(|now| {
                status_of(&now.conditions, ConditionType::Invited) == Some(status)
                    && has_reason(&now.conditions, ConditionType::Invited, reason)
            })
        })
        .await
}

pub(crate) async fn who_gets_a_role_is_written_to(_: Arc<Stage>) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let [port] = free_ports()?;
    let server = MailServer::new(port, dir.path().join("mail"))?;
    let stage = Arc::new(Stage::with_mail_server(&server, PASSWORD).await?);
    let project = Project::new(&stage, "letters").await?;

    // Whatever the mail server does, the role is given.
    project.create::<AdminUser>(person("mary", Role::Admin)).await?;
    until_has(&project, "mary", Role::Admin).await?;
    until_invited(&project, "mary", "False", Reason::MailServerUnreachable).await?;
    let locked = server.start("another-password").await?;
    until_invited(&project, "mary", "False", Reason::MailCredentialsRefused).await?;
    drop(locked);
    let running = server.start(PASSWORD).await?;
    // As the page says: a password is no matter of moments.
    stage.installation.kill_operator()?;
    stage.installation.start_operator().await?;
    let mary = until_invited(&project, "mary", "True", Reason::InvitationSent).await?;
    let invitation = mary.status.and_then(|status| status.invitation).context("an invitation")?;
    ensure!(invitation.sent_at.is_some(), "{invitation:?}");
    let letters = server.letters()?;
    let [letter] = letters.as_slice() else { anyhow::bail!("not one letter: {letters:#?}") };
    // Long lines are broken on the way (RFC 2045, 6.7).
    let letter = letter.replace("=\r\n", "").replace("=\n", "");
    let portal = format!("{}/v1/projects/{}/device-instances", stage.installation.portal_url(), project.namespace);
    for part in [
        "From: Fleetform <fleet@example.com>",
        "To: mary <mary@example.com>",
        "X-RcptTo: mary@example.com",
        "Hello mary,",
        "role Admin",
        "https://app.example.com/",
        portal.as_str(),
    ] {
        ensure!(letter.contains(part), "{part} is not in {letter}");
    }

    // Who is unknown there is known here all the same.
    project.create::<AdminUser>(person("nobody", Role::Viewer)).await?;
    let refused = until_invited(&project, "nobody", "False", Reason::MailRefused).await?;
    ensure!(serde_json::to_string(&refused.status)?.contains("SMTP 550"), "{refused:#?}");
    until_has(&project, "nobody", Role::Viewer).await?;

    // What was sent is sent once, unless it is asked for.
    stage.installation.kill_operator()?;
    stage.installation.start_operator().await?;
    project.create::<AdminUser>(person("john", Role::Viewer)).await?;
    until_invited(&project, "john", "True", Reason::InvitationSent).await?;
    ensure!(server.letters()?.len() == 2, "{:#?}", server.letters()?);
    for invite in [false, true] {
        project.patch::<AdminUser>("mary", json!({ "spec": { "person": { "invite": invite } } })).await?;
        let said = if invite { Reason::InvitationSent.as_str() } else { "" };
        project
            .until_any("mary", "invited or not", |user: &AdminUser| {
                let conditions = user.status.iter().flat_map(|status| &status.conditions);
                let found = conditions.filter(|found| found.type_ == ConditionType::Invited.as_str());
                found.map(|found| found.reason.as_str()).next().unwrap_or_default() == said
            })
            .await?;
    }
    wait::until("another letter to mary", LIMIT, async || {
        let letters = server.letters()?;
        let to_mary = letters.iter().filter(|letter| letter.contains("X-RcptTo: mary@example.com")).count();
        Ok(if to_mary == 2 { Look::Done(()) } else { Look::NotYet(format!("{letters:#?}")) })
    })
    .await?;
    let again = until_invited(&project, "mary", "True", Reason::InvitationSent).await?;
    let again = again.status.and_then(|status| status.invitation).context("an invitation")?;
    ensure!(again.sent_uid != invitation.sent_uid, "{again:?}");
    drop(running);

    // With the role goes the letter.
    project.api::<AdminUser>().delete("john", &DeleteParams::default()).await?;
    until_gone(&project, "john").await?;
    wait::until("the letter to be gone", LIMIT, async || {
        Ok(match project.api::<Secret>().get_opt("john-invitation").await? {
            None => Look::Done(()),
            Some(_) => Look::NotYet("it is there".to_owned()),
        })
    })
    .await?;
    for file in [
        stage.installation.audit_path(),
        stage.installation.events_path(),
        stage.installation.dir().join("operator.log"),
    ] {
        let text = std::fs::read_to_string(&file)?;
        ensure!(!text.contains(PASSWORD), "{} holds the password of the mail server", file.display());
        ensure!(!text.contains("@example.com"), "{} holds somebody's address", file.display());
    }
    Ok(())
}

/// What the portal answers somebody who asks for a letter.
async fn letter(project: &Project, account: &str, user: &str) -> Result<Answer> {
    let stage = &project.stage;
    let token = stage.cluster().audience_token(&project.namespace, account, AUDIENCE).await?;
    let path = admin_user_invitation_path(&project.namespace, user);
    let bytes = request("GET", &path, &format!("Authorization: Bearer {token}\r\n"), "");
    exchange(&stage.installation.portal_url(), &stage.installation.authority().await?, &bytes).await
}

pub(crate) async fn a_letter_is_for_those_who_give_roles(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "drafts").await?;
    project.create::<AdminUser>(person("mary", Role::Admin)).await?;
    let mut local = person("site-manager", Role::Admin);
    local["spec"]["siteRef"] = json!({ "name": SITE });
    project.create::<AdminUser>(local).await?;
    let mut fitter = person("fitter", Role::Installer);
    fitter["spec"]["siteRef"] = json!({ "name": SITE });
    project.create::<AdminUser>(fitter).await?;
    let mut quiet = person("quiet", Role::Viewer);
    quiet["spec"]["person"]["invite"] = false.into();
    project.create::<AdminUser>(quiet).await?;
    for (name, role) in [("mary", Role::Admin), ("site-manager", Role::Admin), ("fitter", Role::Installer)] {
        until_has(&project, name, role).await?;
        until_invited(&project, name, "True", Reason::InvitationDrafted).await?;
    }
    let quiet = until_has(&project, "quiet", Role::Viewer).await?;
    ensure!(quiet.status.is_some_and(|status| status.invitation.is_none()), "somebody is written to who was not to be");

    let shown = wait::until("mary's right to be in force", LIMIT, async || {
        let answer = letter(&project, "mary", "fitter").await?;
        Ok(if answer.status == 200 { Look::Done(answer) } else { Look::NotYet(answer.body) })
    })
    .await?;
    ensure!(shown.head.to_ascii_lowercase().contains("content-type: message/rfc822"), "{}", shown.head);
    ensure!(shown.body.contains("X-Unsent: 1") && shown.body.contains("at the site central"), "{}", shown.body);
    let secrets: Api<Secret> = Api::namespaced(as_person(&project, "mary").await?, &project.namespace);
    ensure!(secrets.get("fitter-invitation").await.is_err(), "an Admin reads Secrets");
    let stored = project.api::<Secret>().get("fitter-invitation").await?;
    let stored = stored.data.unwrap_or_default().remove("invitation.eml").context("a letter")?;
    ensure!(stored.0 == shown.body.as_bytes(), "{stored:?}");

    // At a site those at the site; and what is forbidden and what is not there look alike.
    wait::until("the manager's right to be in force", LIMIT, async || {
        let answer = letter(&project, "site-manager", "fitter").await?;
        Ok(if answer.status == 200 { Look::Done(()) } else { Look::NotYet(answer.body) })
    })
    .await?;
    for (account, user) in
        [("site-manager", "mary"), ("fitter", "fitter"), ("quiet", "mary"), ("mary", "quiet"), ("mary", "nobody")]
    {
        let answer = letter(&project, account, user).await?;
        ensure!(answer.status == 404, "{account} sees the letter to {user}: {}", answer.status);
    }
    let trail = trail::of_project(&project)?;
    let told = |error: Option<&str>| {
        trail.iter().any(|record| {
            record.event_name == "AmazonMonitronApp:GetUserInvitation" && record.error_code.as_deref() == error
        })
    };
    ensure!(told(None) && told(Some("AccessDenied")) && told(Some("ResourceNotFoundException")), "{trail:#?}");
    Ok(())
}
