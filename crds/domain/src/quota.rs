//! Pure: how many there may be of what, and what is said when there are more. Who came first keeps its place.

/// Most of those over quota that are named one by one.
const NAMED: usize = 3;

/// Something that there may only be so many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quota {
    /// Projects of an installation.
    Projects,
    /// Sites of a project.
    Sites,
    /// Gateways of a site.
    Gateways,
    /// Assets of a site.
    Assets,
    /// People and groups with a role at a site.
    Users,
}

impl Quota {
    /// How many there may be where nothing else is set (Monitron guide, quotas).
    pub const fn default_limit(self) -> u32 {
        match self {
            Self::Projects => 10,
            Self::Sites => 50,
            Self::Gateways => 200,
            Self::Assets => 100,
            Self::Users => 20,
        }
    }

    const fn thing(self) -> &'static str {
        match self {
            Self::Projects => "project",
            Self::Sites => "site",
            Self::Gateways => "gateway",
            Self::Assets => "asset",
            Self::Users => "user",
        }
    }

    fn things(self, count: usize) -> String {
        format!("{count} {}{}", self.thing(), if count == 1 { "" } else { "s" })
    }

    const fn place(self) -> &'static str {
        match self {
            Self::Projects => "in an installation",
            Self::Sites => "in a project",
            Self::Gateways | Self::Assets | Self::Users => "at a site",
        }
    }

    /// How to have more.
    const fn raise(self) -> &'static str {
        match self {
            Self::Projects => "have --max-projects of the operator raised (quotas.projects of its chart)",
            Self::Sites => "raise spec.quotas.sites of the Project",
            Self::Gateways => "raise spec.quotas.gatewaysPerSite of the Project",
            Self::Assets => "raise spec.quotas.assetsPerSite of the Project",
            Self::Users => "raise spec.quotas.usersPerSite of the Project",
        }
    }

    /// The end of the sentence about one that is over a quota of `allowed`. It says nothing that changes when another one comes.
    pub fn refusal(self, allowed: u32) -> String {
        let (things, place, raise, thing) = (self.things(number(allowed)), self.place(), self.raise(), self.thing());
        if allowed == 0 {
            return format!("is over the quota of {things} {place}: {raise}");
        }
        format!("is over the quota of {things} {place}, which older ones fill: {raise}, or delete another {thing}")
    }

    /// What whoever has them says when there are more than `allowed`: how many of how many, and which are over. `over` are the
    /// names of these, the oldest first.
    pub fn exceeded(self, allowed: u32, over: &[&str]) -> Option<String> {
        let names = match over {
            [] => return None,
            [one] => format!("{one} is"),
            [named @ .., last] if named.len() < NAMED => format!("{} and {last} are", named.join(", ")),
            _ => format!("{} and {} more are", over[..NAMED].join(", "), over.len() - NAMED),
        };
        let allowed = number(allowed);
        let there = self.things(allowed.saturating_add(over.len()));
        let are = if allowed.saturating_add(over.len()) == 1 { "is" } else { "are" };
        Some(format!(
            "there {are} {there} of {allowed}: {names} over quota; {}, or delete {}s",
            self.raise(),
            self.thing()
        ))
    }
}

fn number(allowed: u32) -> usize {
    usize::try_from(allowed).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_counted_and_named() {
        let said = |over: &[&str]| Quota::Sites.exceeded(2, over).unwrap_or_default();
        let all = ["a", "b", "c", "d", "e"];
        let texts: Vec<String> = (0..=all.len()).map(|count| said(&all[..count])).collect();
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn one_that_is_over_reads_which_quota_and_what_to_do() {
        let quotas = [Quota::Projects, Quota::Sites, Quota::Gateways, Quota::Assets, Quota::Users];
        let texts = quotas.map(|quota| format!("this one {}", quota.refusal(quota.default_limit())));
        insta::assert_snapshot!(texts.join("\n"));
        assert!(Quota::Sites.refusal(1).contains("the quota of 1 site in"));
    }
}
