#![allow(clippy::all, clippy::pedantic, missing_docs)]
mod support;
use fleetform_domain::activation::*;
use fleetform_domain::address::PostalAddress;
use fleetform_domain::configuration::DeviceType;
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::*;

#[derive(Default)]
struct World {
    ready: u32,
    active: BTreeMap<u32, i64>,
    version: u64,
    checkins: u64,
    wipe: bool,
    gone: bool,
    commits: u64,
}

fn rss(pid: u32) -> u64 {
    let s = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    s.lines().find(|l| l.starts_with("VmRSS")).unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
}
fn get(w: &Mutex<World>) -> (u64, u64) {
    let w = w.lock().unwrap();
    (w.checkins, w.commits)
}
fn cpu(pid: u32) -> u64 {
    let s = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let f: Vec<_> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    f[11].parse::<u64>().unwrap() + f[12].parse::<u64>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn scratch() {
    let n: u32 = std::env::var("N").ok().and_then(|n| n.parse().ok()).unwrap_or(5000);
    let every = std::env::var("EVERY").unwrap_or("50".into());
    let authority = Arc::new(Authority::new());
    let (leaf, key) = authority.server("127.0.0.1");
    let world = Arc::new(Mutex::new(World { version: 1, ..World::default() }));
    let addr: Arc<Mutex<String>> = Arc::default();
    let (a, w, ad) = (authority.clone(), world.clone(), addr.clone());
    let behave = move |seen: &Seen| {
        let path = seen.path.clone();
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        if path == DEVICE_LIST_PATH {
            let w = w.lock().unwrap();
            if query.contains(&format!("since=v{}&", w.version)) || query.ends_with(&format!("since=v{}", w.version)) {
                return good(&DeviceList { version: format!("v{}", w.version), ..DeviceList::default() });
            }
            let items = if w.gone {
                vec![]
            } else {
                (0..w.ready)
                    .map(|i| DeviceSummary {
                        id: DeviceName { project: "p".into(), name: format!("device-number-{i}") },
                        uid: format!("0f5e6c1e-0000-4000-8000-{i:012}"),
                        display_name: "D".into(),
                        site: format!("site-{}", i % 10),
                        device_type: DeviceType::Reader,
                        phase: if w.active.contains_key(&i) { Phase::Active } else { Phase::ReadyForActivation },
                        activation_sequence: w.active.get(&i).copied().unwrap_or(if w.wipe { 2 } else { 1 }),
                        simulated: true,
                    })
                    .collect()
            };
            return good(&DeviceList { version: format!("v{}", w.version), complete: true, items, removed: vec![] });
        }
        if path.ends_with("/address") {
            return good(&PostalAddress {
                address_line1: "x".into(),
                address_line2: None,
                address_line3: None,
                city: "Seattle".into(),
                state_or_region: None,
                postal_code: "98104".into(),
                country_code: "US".into(),
            });
        }
        if path.ends_with("/activation-qr-code") {
            let i = path.split('/').nth(5).unwrap().rsplit('-').next().unwrap().to_owned();
            let text =
                ActivationCode { gateway: ad.lock().unwrap().clone(), pin: a.pin.clone(), token: TokenText::from(i) }
                    .to_text();
            if seen.accept == "image/png" {
                let code = qrcode::QrCode::new(&text).unwrap();
                let (m, s, q) = (code.width(), 4, 4);
                let side = (m + 2 * q) * s;
                let c = code.to_colors();
                let mut px = vec![255u8; side * side];
                for y in 0..m * s {
                    for x in 0..m * s {
                        if c[(y / s) * m + x / s] == qrcode::Color::Dark {
                            px[(y + q * s) * side + x + q * s] = 0;
                        }
                    }
                }
                let mut out = vec![];
                let mut e = png::Encoder::new(&mut out, side as u32, side as u32);
                e.set_color(png::ColorType::Grayscale);
                e.write_header().unwrap().write_image_data(&px).unwrap();
                return Reply::Good("image/png", out.into());
            }
            return Reply::Good("text/plain", text.into());
        }
        match path {
            LOOKUP_PATH => good(&LookupResponse {
                site_name: "s".into(),
                city: "c".into(),
                state_or_region: None,
                device_instance_name: "d".into(),
                confirmation: Confirmation::from("x".to_owned()),
            }),
            ACTIVATION_PATH => {
                let r: ActivationRequest = serde_json::from_slice(&seen.body).unwrap();
                let cert = a.certify(&r.certificate_request);
                let mut w = w.lock().unwrap();
                w.commits += 1;
                let s = if w.wipe { 2 } else { 1 };
                w.active.insert(r.token.as_str().parse().unwrap(), s);
                good(&ActivationResponse {
                    association_id: "5e2e8ad4-6a1c-4f0e-9f43-0f8d2f0f4d11".into(),
                    certificate: cert,
                    ca_certificates: vec![a.pem.clone()],
                    desired_configuration_version: 1,
                    next_check_in_seconds: 60,
                })
            }
            "/v1/configuration/1" => good(&DeviceConfiguration {
                version: 1,
                arn: "arn".into(),
                device_instance_name: "d".into(),
                operation_mode: None,
                wifi: None,
                control_panel: None,
                badge_format: None,
            }),
            CHECK_IN_PATH => {
                let mut w = w.lock().unwrap();
                w.checkins += 1;
                if w.wipe && w.active.is_empty() {
                    return refuse(ProblemCode::AssociationEnded);
                }
                good(&CheckInResponse { desired_configuration_version: 1, next_check_in_seconds: 60 })
            }
            _ => refuse(ProblemCode::NotFound),
        }
    };
    let server = serve(&authority, vec![leaf, authority.certificate.clone()], &key, behave).await;
    *addr.lock().unwrap() = format!("https://{}", server.address);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), &authority.pem).unwrap();
    std::fs::write(dir.path().join("token"), "tok\n").unwrap();
    let start = || {
        std::process::Command::new(env!("CARGO_BIN_EXE_fleetform-simulator"))
            .arg("--portal")
            .arg(format!("https://localhost:{}", server.address.port()).replace("localhost", "127.0.0.1"))
            .arg("--portal-ca")
            .arg(dir.path().join("ca.pem"))
            .arg("--token-file")
            .arg(dir.path().join("token"))
            .arg("--state-dir")
            .arg(dir.path().join("state"))
            .arg("--listen")
            .arg("127.0.0.1:18081")
            .arg("--picture-every")
            .arg(&every)
            .spawn()
            .unwrap()
    };
    let sleep = |ms| tokio::time::sleep(Duration::from_millis(ms));
    let mut child = start();
    sleep(2000).await;
    let zero = rss(child.id());
    eprintln!("rss at 0: {zero} KiB");
    {
        let mut w = world.lock().unwrap();
        w.ready = n;
        w.version += 1;
    }
    let t = Instant::now();
    loop {
        sleep(200).await;
        if world.lock().unwrap().active.len() == n as usize {
            break;
        }
    }
    eprintln!("all {n} active after {:?}, rss {} KiB, cpu {} ticks", t.elapsed(), rss(child.id()), cpu(child.id()));
    {
        let mut w = world.lock().unwrap();
        w.version += 1;
    }
    sleep(3000).await;
    let full = rss(child.id());
    eprintln!(
        "rss after: {full} KiB; per device {:.2} KiB; checkins {} commits {}",
        (full - zero) as f64 / n as f64,
        get(&world).0,
        get(&world).1
    );
    // crash and restart
    child.kill().unwrap();
    child.wait().unwrap();
    let before = get(&world).0;
    let mut child = start();
    let t = Instant::now();
    loop {
        sleep(100).await;
        if get(&world).0 >= before + n as u64 {
            break;
        }
    }
    eprintln!("restarted: all checked in after {:?}", t.elapsed());
    sleep(2000).await;
    let idle = rss(child.id());
    eprintln!(
        "rss restarted {} KiB, per device {:.2}, checkins {}, commits {}",
        idle,
        (idle - zero) as f64 / n as f64,
        get(&world).0 - before,
        get(&world).1
    );
    let (c0, k0, t) = (cpu(child.id()), get(&world).0, Instant::now());
    sleep(std::env::var("SOAK").ok().and_then(|s| s.parse().ok()).unwrap_or(60_000)).await;
    eprintln!(
        "in {:?}: {} check-ins, {} ticks of cpu, rss {}",
        t.elapsed(),
        get(&world).0 - k0,
        cpu(child.id()) - c0,
        rss(child.id())
    );
    // deactivate all
    {
        let mut w = world.lock().unwrap();
        w.wipe = true;
        w.active.clear();
        w.version += 1;
        w.commits = 0;
    }
    let t = Instant::now();
    loop {
        sleep(100).await;
        if world.lock().unwrap().active.len() == n as usize {
            break;
        }
        if t.elapsed().as_secs() > 120 {
            eprintln!("stuck at {}", world.lock().unwrap().active.len());
            break;
        }
    }
    eprintln!("deactivated and activated again after {:?}, commits {}", t.elapsed(), get(&world).1);
    let metrics = std::process::Command::new("curl").args(["-s", "http://127.0.0.1:18081/metrics"]).output().unwrap();
    eprintln!("{}", String::from_utf8_lossy(&metrics.stdout));
    {
        let mut w = world.lock().unwrap();
        w.gone = true;
        w.version += 1;
    }
    sleep(2500).await;
    let t = Instant::now();
    std::process::Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap();
    eprintln!("exit {:?} after {:?}", child.wait().unwrap(), t.elapsed());
}
