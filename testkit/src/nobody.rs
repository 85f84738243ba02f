use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// An address of this machine at which nobody listens: whoever connects is refused at once.
///
/// It is taken, so that no server of another test is given it meanwhile. Once this value is dropped, anybody may be.
#[derive(Debug)]
pub struct Nobody(TcpSocket);

impl Nobody {
    /// Takes an address, and listens to nothing there.
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a loopback port");
        Self(socket)
    }

    /// The address, such as `127.0.0.1:40123`.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("the address of a bound socket")
    }
}

impl Default for Nobody {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    use super::Nobody;

    #[test]
    fn nobody_answers_and_nobody_else_can_be_given_the_address() {
        let nobody = Nobody::new();
        let refused = TcpStream::connect(nobody.address()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let taken = TcpListener::bind(nobody.address()).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    }
}
