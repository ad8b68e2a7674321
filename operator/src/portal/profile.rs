//! Who an enrolled user is: the badge number in full, for those who may know it. Nothing of a palm is shown to anybody.

use axum::Json as Answer;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use fleetform_crds::EnrolledUser;
use fleetform_domain::audit::{Action, ResourceKind};
use fleetform_domain::event::UserStatus;
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::EnrolledUserProfile;

use super::Portal;
use super::access::{Caller, Refused, Right, not_found};
use super::record::Asked;
use super::visit::Visit;
use crate::cache::Name;
use crate::people::{Profile, Unreadable};
use crate::server::Refusal;

/// `GET /v1/projects/{project}/enrolled-users/{name}/profile`.
pub(super) async fn profile(visit: Visit) -> Result<Response, Refusal> {
    let Visit { portal, caller, actor, .. } = &visit;
    let outcome = match &visit.named {
        Some(name) => portal.profile(caller, name).await,
        None => Err(not_found().into()),
    };
    let asked = match &visit.named {
        Some(name) => Asked::of(Action::GetEnrolledUserProfile, ResourceKind::EnrolledUser, name, None),
        // What is no name may be anything.
        None => Asked::of_all(Action::GetEnrolledUserProfile, ResourceKind::EnrolledUser, None),
    };
    portal.record(actor, asked, &outcome).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Answer(outcome?)).into_response())
}

impl Portal {
    async fn profile(&self, caller: &Caller, name: &Name) -> Result<EnrolledUserProfile, Refused> {
        let right = Right::to("get", "enrolledusers", "profile", name);
        if !self.access.allows(caller, right).await? {
            return Err(Refused::Denied);
        }
        let world = &self.context.world;
        let user = world.users.get(name).ok_or_else(not_found)?;
        let profile = self.context.people.profile(world, &user).map_err(|why| match why {
            Unreadable::Closed(trouble) => Refusal::new(ProblemCode::KeyUnavailable, trouble.remedy()),
            _ => Refusal::new(
                ProblemCode::SystemError,
                format!("the profile cannot be read: {why}; its Ready condition says more"),
            ),
        })?;
        Ok(assemble(&name.name, &user, &profile))
    }
}

fn assemble(name: &str, user: &EnrolledUser, profile: &Profile) -> EnrolledUserProfile {
    let leaving = user.metadata.deletion_timestamp.is_some();
    EnrolledUserProfile {
        name: name.to_owned(),
        badge_number: profile.badge_number.clone(),
        user_status: if leaving { UserStatus::Deleted } else { UserStatus::Active },
        enrollment_source: user.spec.source.name.clone(),
        enrollment_source_id: user.spec.source.device_instance_id.clone(),
        enrolled_at: user.spec.enrolled_at.0,
        consent: user.spec.consent.clone(),
        palms: profile.palms.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::fixtures::{palm, user};
    use fleetform_domain::people::Hand;

    #[test]
    fn a_profile_has_all_of_the_badge_and_nothing_of_a_palm() {
        let profile = Profile { badge_number: "1111358294500".try_into().unwrap(), palms: vec![palm(1, Hand::Left)] };
        insta::assert_json_snapshot!("enrolled_user_profile", assemble("eu-1", &user("eu-1", 1), &profile));
    }
}
