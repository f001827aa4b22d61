//! Finds the controls of a camera by their names.

use super::CameraControl;
use crate::os_error::OsError;

/// Older names, in drivers and scripts, of the same controls.
const ALIASES: [(&str, &str); 8] = [
    ("exposure_auto", "auto_exposure"),
    ("exposure_absolute", "exposure_time_absolute"),
    ("exposure_auto_priority", "exposure_dynamic_framerate"),
    ("focus_auto", "focus_automatic_continuous"),
    ("white_balance_temperature_auto", "white_balance_automatic"),
    ("pan", "pan_absolute"),
    ("tilt", "tilt_absolute"),
    ("zoom", "zoom_absolute"),
];

/// A control that is wanted, and that the camera has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundControl {
    pub id: u32,
    pub value: i64,
    /// As the operator calls it.
    name: String,
    least: i64,
    most: i64,
}

/// The wanted controls that the camera has, in order. The others are logged.
pub(super) fn resolve(wanted: &[(String, i64)], controls: &[CameraControl]) -> Vec<FoundControl> {
    let mut found = Vec::new();
    for (name, value) in wanted {
        match find(name, controls) {
            Some(&CameraControl { id, least, most, .. }) => {
                found.push(FoundControl { id, value: *value, name: name.clone(), least, most });
            }
            None => log::warn!(
                "the camera has no control {name}; it has: {}",
                controls.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", ")
            ),
        }
    }
    found
}

/// Logs the controls that could not be set.
pub(super) fn warn_of_refused(found: &[FoundControl], refused: &[(u32, OsError)]) {
    for (id, error) in refused {
        for FoundControl { name, value, least, most, .. } in found.iter().filter(|it| it.id == *id)
        {
            log::warn!(
                "the camera does not take --control {name}={value}: {error}; its values are {least} to {most}"
            );
        }
    }
}

fn find<'a>(name: &str, controls: &'a [CameraControl]) -> Option<&'a CameraControl> {
    let by_name = |name: &str| controls.iter().find(|control| control.name == name);
    let other = |name: &str| {
        ALIASES.iter().find_map(|(old, new)| match name {
            _ if name == *old => Some(*new),
            _ if name == *new => Some(*old),
            _ => None,
        })
    };
    by_name(name).or_else(|| by_name(other(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(id: u32, name: &str) -> CameraControl {
        CameraControl {
            id,
            name: name.into(),
            least: 0,
            most: 1,
            step: 1,
            default: 0,
            value: None,
            menu: vec![],
        }
    }

    #[test]
    fn controls_are_found_by_old_and_new_names_in_the_order_that_is_wanted() {
        let new =
            [control(1, "auto_exposure"), control(2, "exposure_time_absolute"), control(3, "gain")];
        let wanted =
            [("exposure_auto", 1), ("exposure_absolute", 100), ("sharpness", 2), ("gain", 7)];
        let wanted = wanted.map(|(name, value)| (name.to_owned(), value));
        let ids = |wanted: &[(String, i64)], controls: &[CameraControl]| {
            resolve(wanted, controls).iter().map(|it| (it.id, it.value)).collect::<Vec<_>>()
        };
        assert_eq!(ids(&wanted, &new), [(1, 1), (2, 100), (3, 7)]);
        let old = [control(9, "focus_auto")];
        assert_eq!(ids(&[("focus_automatic_continuous".into(), 0)], &old), [(9, 0)]);
    }
}
