//! Recent measurements of a machine, for charts.

use axum::Json as Answer;
use axum::http::Uri;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use fleetform_crds::Asset;
use fleetform_domain::audit::{Action, ResourceKind};
use fleetform_domain::id::ResourceId;
use fleetform_domain::machines::{KEPT_READINGS, Reading};
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{MeasurementSeries, MeasurementSeriesQuery};

use super::Portal;
use super::access::{AtSite, Caller, Refused, not_found};
use super::record::Asked;
use super::visit::Visit;
use crate::cache::Name;
use crate::measurements::{Cursor, Place};
use crate::server::{Refusal, query};

/// `GET /v1/projects/{project}/assets/{name}/measurements`.
pub(super) async fn measurements(visit: Visit, uri: Uri) -> Result<Response, Refusal> {
    let Visit { portal, caller, actor, .. } = &visit;
    let name = visit.name()?;
    let series = portal.measurements(caller, name, &uri).await;
    let asked = || Asked::of(Action::GetAssetMeasurements, ResourceKind::Asset, name, None);
    portal.record_denial(actor, asked, &series).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Answer(series?)).into_response())
}

impl Portal {
    async fn measurements(&self, caller: &Caller, name: &Name, uri: &Uri) -> Result<MeasurementSeries, Refused> {
        let world = &self.context.world;
        let asset = world.assets.get(name);
        let site = asset.as_ref().map(|asset| asset.spec.site_ref.name.as_str());
        if !self.access.allows_at(caller, AtSite::to("get", ["assets", "measurements"], name, site)).await? {
            return Err(Refused::Denied);
        }
        let query: MeasurementSeriesQuery = query(uri)?;
        let (limit, after) = (limit(&query)?, after(&query)?);
        let asset = asset.ok_or_else(not_found)?;
        let position = asset.spec.positions.iter().find(|position| position.name == query.position);
        let position = position.ok_or_else(|| no_position(&asset))?;
        let sensor = asset.position(&position.name).and_then(|position| position.sensor.as_ref());
        let device = sensor.and_then(|sensor| world.devices.get(&Name::new(&name.namespace, sensor)));
        let id = device.as_ref().and_then(|device| device.metadata.uid.as_deref()).map(ResourceId::of);
        let place = Place::new(&name.name, &position.name);
        let recent = id.and_then(|id| self.context.measurements.recent(&id, &place, after, limit));
        let (readings, next) = recent.map(|(readings, next)| (readings, Some(next))).unwrap_or_default();
        Ok(MeasurementSeries { next: next.map(Cursor::to_text), ..series(name, &asset, &position.name, &readings) })
    }
}

fn limit(query: &MeasurementSeriesQuery) -> Result<usize, Refusal> {
    let limit = query.limit.map_or(Some(KEPT_READINGS), |limit| usize::try_from(limit).ok());
    let limit = limit.filter(|limit| (1..=KEPT_READINGS).contains(limit));
    limit.ok_or_else(|| Refusal::malformed(format!("query: limit: 1 to {KEPT_READINGS}")))
}

fn after(query: &MeasurementSeriesQuery) -> Result<Option<Cursor>, Refusal> {
    let Some(text) = &query.after else { return Ok(None) };
    let cursor = Cursor::read(text);
    let none = || Refusal::malformed("query: after: no answer has told that: take it from the next of the last answer");
    cursor.map(Some).ok_or_else(none)
}

/// Who may see the measurements of a machine may know its positions.
fn no_position(asset: &Asset) -> Refusal {
    let known: Vec<&str> = asset.spec.positions.iter().map(|position| position.name.as_str()).collect();
    let detail = format!("query: position: the asset has no such position; its positions are: {}", known.join(", "));
    Refusal::new(ProblemCode::NotFound, detail)
}

fn series(name: &Name, asset: &Asset, position: &str, readings: &[Reading]) -> MeasurementSeries {
    let (limits, known) = (asset.limits(), asset.position(position));
    MeasurementSeries {
        project: name.namespace.clone(),
        asset: name.name.clone(),
        position: position.to_owned(),
        sensor: known.and_then(|known| known.sensor.clone()),
        state: known.map(|known| known.state).unwrap_or_default(),
        machine_class: limits.class,
        zone_boundaries_mm_per_s: limits.class.boundaries(),
        temperature_limits_celsius: limits.temperature,
        next: None,
        times: readings.iter().map(Reading::time).collect(),
        velocity_rms_mm_per_s: readings.iter().map(|reading| reading.velocity).collect(),
        temperature_celsius: readings.iter().map(|reading| reading.temperature).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::fixtures;
    use serde_json::json;

    #[test]
    fn a_series_is_lists_of_equal_length_with_what_is_normal() {
        let mut asset = fixtures::asset();
        asset.spec.temperature_limits =
            serde_json::from_value(json!({ "warningCelsius": 70, "alarmCelsius": 80 })).unwrap();
        let position = json!({ "name": "drive-end", "sensor": "pump-drive-end", "state": "Warning" });
        asset.status = Some(serde_json::from_value(json!({ "positions": [position] })).unwrap());
        let millisecond = fixtures::noon().as_millisecond();
        let reading = |sequence: u64, velocity| Reading { sequence, millisecond, velocity, temperature: 61.5 };
        let name = Name::new("library", "pump");
        let said = series(&name, &asset, "drive-end", &[reading(1, 2.9), reading(2, 7.1)]);
        insta::assert_json_snapshot!("series", said);
    }

    #[test]
    fn what_cannot_be_asked_for_is_refused_with_what_can() {
        let asked = |text: &str| query::<MeasurementSeriesQuery>(&format!("/x?{text}").parse().unwrap());
        assert!(asked("limit=3").unwrap_err().detail.contains("position"));
        assert!(asked("position=a&since=2026-01-01T12:00:00Z").is_err());
        let after = |text: &str| after(&asked(&format!("position=a{text}")).unwrap());
        assert_eq!(after("").unwrap(), None);
        assert!(after("&after=2a-7").unwrap().is_some());
        assert!(after("&after=yesterday").unwrap_err().detail.contains("from the next of the last answer"));
        for (text, expected) in [("", Some(512)), ("&limit=1", Some(1)), ("&limit=0", None), ("&limit=513", None)] {
            assert_eq!(limit(&asked(&format!("position=a{text}")).unwrap()).ok(), expected, "{text}");
        }
        assert!(no_position(&fixtures::asset()).detail.ends_with("its positions are: drive-end, fan-end"));
    }
}
