//! What can be found out about `[listener.limits]` before anything is started with it.

use super::Limits;
use super::check::Report;

impl Report {
    pub(super) fn limits(&mut self, limits: &Limits) {
        if limits.default_deadline > limits.max_deadline {
            let message = "is longer than max_deadline_seconds; lower it, or raise that";
            self.error("listener.limits.default_deadline_seconds", message);
        }
        if limits.max_in_flight_per_caller > limits.max_in_flight {
            let message = "is larger than max_in_flight, so one caller can take the whole service; lower it";
            self.warning("listener.limits.max_in_flight_per_caller", message);
        }
        if limits.max_handshakes >= limits.max_connections {
            let message = "is not smaller than max_connections, so that strangers who never finish a handshake can take every \
                           connection; lower it";
            self.warning("listener.limits.max_handshakes", message);
        }
        if limits.max_connections_per_address >= limits.max_connections {
            let message =
                "is not smaller than max_connections, so that one address can take every connection; lower it";
            self.warning("listener.limits.max_connections_per_address", message);
        }
        if limits.max_handshakes_per_address >= limits.max_handshakes {
            let message =
                "is not smaller than max_handshakes, so that one address can keep all others from connecting; lower it";
            self.warning("listener.limits.max_handshakes_per_address", message);
        }
    }
}
