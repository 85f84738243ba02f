use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use domain::{DeviceId, UserId};
use uuid::Uuid;

use super::guesses::DEVICE_FORGOTTEN_AFTER;
use super::{SessionKeys, Sessions};
use crate::error::Unavailable;
use crate::keys::KeyId;
use crate::seal::Mac;

/// Octets of the readable part: user, device, base, end.
const LENGTH: usize = 16 + 16 + 8 + 6;
/// Longer than any token, in octets.
const MAX: usize = 160;

/// A device that a user signed in with before, as its token tells. Written as `key id.readable part.tag`; in no table
/// stands anything of it until it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownDevice {
    /// The device.
    pub id: DeviceId,
    /// The attempt, in its own count, with which it last succeeded when the token was made. With an older token more of its
    /// attempts count as failures, never fewer.
    pub base: u64,
}

impl Sessions {
    /// A token by which a device of a user is known from now on: good for a year, which is as long as its count is kept.
    ///
    /// # Errors
    /// [`Unavailable`] for times that are out of all reason.
    pub fn device_token(
        &self,
        user: UserId,
        device: KnownDevice,
        now: DateTime<Utc>,
    ) -> Result<String, Unavailable> {
        let write = || {
            let id = self.keys.ring.current().0;
            let ends = (now + DEVICE_FORGOTTEN_AFTER).timestamp();
            let ends = (0..1 << 47).contains(&ends).then_some(ends)?.to_be_bytes();
            let mut readable = Vec::with_capacity(LENGTH);
            readable.extend_from_slice(user.as_bytes());
            readable.extend_from_slice(device.id.as_bytes());
            readable.extend_from_slice(&device.base.to_be_bytes());
            readable.extend_from_slice(&ends[2..]);
            let Mac(tag) = self.keys.device_tag(&id, &readable)?;
            let [readable, tag] = [&readable[..], &tag].map(|part| URL_SAFE_NO_PAD.encode(part));
            Some(format!("{}.{readable}.{tag}", id.as_str()))
        };
        write().ok_or_else(|| Unavailable::because("a clock out of range"))
    }

    /// The device of this user that a text is the token of: made by us, for this user, and not too old. Everything else is
    /// the token of none, whatever is wrong with it.
    pub fn known_device(&self, text: &str, user: UserId, now: DateTime<Utc>) -> Option<KnownDevice> {
        if text.len() > MAX {
            return None;
        }
        let mut parts = text.split('.');
        let (Some(id), Some(readable), Some(tag), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let id = KeyId::parse(id)?;
        let [readable, tag] = [readable, tag].map(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let readable = readable?;
        if self.keys.device_tag(&id, &readable)? != tag?[..] {
            return None;
        }
        let readable: &[u8; LENGTH] = readable.as_slice().try_into().ok()?;
        let (of, rest) = readable.split_first_chunk::<16>()?;
        let (device, rest) = rest.split_first_chunk::<16>()?;
        let (base, ends) = rest.split_first_chunk::<8>()?;
        let ends = ends.iter().fold(0_i64, |sum, octet| (sum << 8) | i64::from(*octet));
        let id = DeviceId::new(Uuid::from_bytes(*device));
        (of == user.as_bytes() && now.timestamp() < ends)
            .then_some(KnownDevice { id, base: u64::from_be_bytes(*base) })
    }
}

impl SessionKeys {
    /// The tag of a device token; `None` if the key is gone.
    fn device_tag(&self, id: &KeyId, readable: &[u8]) -> Option<Mac> {
        Some(self.mac(&self.get(id)?, "device token", &[id.as_str().as_bytes(), readable]))
    }
}
