package oauth_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// certificateRows are H10: nothing is sent to whom nobody can identify.
func certificateRows() []row {
	answers := ok(rotatedBody)
	certificate := func(change func(*x509.Certificate)) scene { return trusted(change, nil, answers) }
	config := func(change func(*tls.Config)) scene { return trusted(nil, change, answers) }
	return []row{
		taken("H10", "trusted authority", testToken, testRefreshToken, repliesTLS(answers)),
		unsent("H10", "expired", certificate(func(c *x509.Certificate) { c.NotAfter = time.Unix(1, 0) })).saying("expired"),
		unsent("H10", "not yet valid", certificate(func(c *x509.Certificate) { c.NotBefore = time.Unix(1<<36, 0) })).saying("not yet valid"),
		unsent("H10", "for another address", certificate(func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 2)} })).saying("another host"),
		unsent("H10", "for a name that is the address", certificate(func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"127.0.0.1"} })).saying("another host"),
		unsent("H10", "for the address as common name alone", certificate(func(c *x509.Certificate) { c.IPAddresses, c.DNSNames, c.Subject.CommonName = nil, nil, "127.0.0.1" })).saying("certificate"),
		unsent("H10", "for every name", certificate(func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"*", "*.0.0.1"} })).saying("another host"),
		unsent("H10", "a client's certificate", certificate(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })).saying("certificate"),
		unsent("H10", "another authority than the one that is named", withRoots(answers, func(_, other *authority) []byte { return other.pem() })).saying("tls.caRef"),
		unsent("H10", "an authority that nobody has named", withRoots(answers, func(_, _ *authority) []byte { return nil })).saying("tls.caRef"),
		unsent("H10", "signed by itself", selfSigned(answers, false)).saying("tls.caRef"),
		taken("H10", "signed by itself, and named", testToken, testRefreshToken, selfSigned(answers, true)),
		taken("H10", "one of two authorities that are named", testToken, testRefreshToken, withRoots(answers, func(ca, other *authority) []byte { return append(other.pem(), ca.pem()...) })),
		unsent("H10", "TLS 1.0 only", config(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 })).saying("TLS 1.2"),
		unsent("H10", "TLS 1.1 only", config(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 })).saying("TLS 1.2"),
		taken("H10", "TLS 1.2 only", testToken, testRefreshToken, config(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })),
		taken("H10", "TLS 1.3 only", testToken, testRefreshToken, config(func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 })),
		unsent("H10", "a cipher that is too weak", config(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA}
		})).saying("handshake"),
		unsent("H10", "speaks another protocol than HTTP/1.1", config(func(c *tls.Config) { c.NextProtos = []string{"h3"} })).saying("HTTP/1.1"),
		doubtful("H10", "HTTP/2 only, though it agreed to no protocol", trusted(nil, func(c *tls.Config) { c.NextProtos = []string{"h2"} }, raw("\x00\x00\x12\x04\x00\x00\x00\x00\x00"))).saying("not HTTP"),
		taken("H10", "HTTP/2 rather than HTTP/1.1", testToken, testRefreshToken, config(func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} })),
		unsent("H10", "wants a certificate of the client", config(func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 })).saying("client certificate"),
		taken("H10", "asks for a certificate of the client, and goes on", testToken, testRefreshToken, config(func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert })),
		unsent("H10", "knows no such host", config(func(c *tls.Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("no such host") }
		})).saying("handshake"),
		unsent("H10", "a certificate of 1 MB", certificate(func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, manyNames()...) })).saying("handshake"),
		unsent("H10", "plain HTTP where TLS belongs", bare("https", func(conn *tapped) { _, _ = io.WriteString(conn, httpAnswer(200, "", rotatedBody)); drain(conn) })).saying("handshake"),
		unsent("H10", "an alert in place of a handshake", bare("https", func(conn *tapped) { _, _ = io.WriteString(conn, "\x15\x03\x03\x00\x02\x02\x28"); drain(conn) })).saying("handshake"),
		unsent("H10", "an endless handshake", bare("https", func(conn *tapped) {
			for err := error(nil); err == nil; {
				_, err = io.WriteString(conn, "\x16\x03\x03\x40\x00"+strings.Repeat("\x02\x00\x40\x00", 1<<12))
			}
		})).saying("handshake"),
		doubtful("H10", "renegotiates after the request", renegotiating).saying("broke"),
	}
}

func manyNames() (names []string) {
	for i := range 20_000 {
		names = append(names, fmt.Sprintf("a-rather-long-name-number-%d.provider.test", i))
	}
	return names
}

// drain reads until the client hangs up.
func drain(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// withRoots is a server with a sound certificate of one authority, and a client that trusts what roots makes of that one and
// another.
func withRoots(respond responder, roots func(ca, other *authority) []byte) scene {
	return func(t *testing.T) stage {
		t.Helper()
		ca := newAuthority(t)
		bundle := roots(ca, newAuthority(t))
		s := serveTLS(t, ca.config(t, nil), respond)
		return stage{
			endpoint: "https://127.0.0.1:" + s.port() + "/token", requests: s.awaited,
			options: func(o *oauth.Options) { o.RootCAs = bundle },
		}
	}
}

// selfSigned is a server whose certificate nobody else has signed.
func selfSigned(respond responder, known bool) scene {
	return func(t *testing.T) stage {
		t.Helper()
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(3), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<37, 0),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		roots := newAuthority(t).pem()
		if known {
			roots = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		}
		s := serveTLS(t, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, respond)
		return stage{endpoint: "https://127.0.0.1:" + s.port() + "/token", requests: s.awaited, options: func(o *oauth.Options) { o.RootCAs = roots }}
	}
}

// renegotiating is a server that wants another handshake once it has the request, as TLS 1.2 allows (RFC 5246 section
// 7.4.1.1). crypto/tls cannot be made to say so; hence the record is made by hand, with the keys of the connection.
func renegotiating(t *testing.T) stage {
	t.Helper()
	ca := newAuthority(t)
	config := ca.config(t, nil)
	keys := new(heard)
	config.MaxVersion, config.CipherSuites, config.KeyLogWriter = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, keys
	said := &overhearing{Listener: listen(t)}
	s := serveOn(t, tls.NewListener(said, config), func(conn net.Conn, seen request) bool {
		if secured, is := conn.(*tls.Conn); is {
			_, _ = secured.NetConn().Write(helloRequest(keys.String(), said.written.String()))
		}
		return hang(conn, seen)
	})
	return stage{endpoint: "https://127.0.0.1:" + s.port() + "/token", requests: s.awaited, options: func(o *oauth.Options) { o.RootCAs = ca.pem() }}
}

// heard keeps what is written.
type heard struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(p)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

// overhearing keeps what is written to its connections.
type overhearing struct {
	net.Listener
	written heard
}

func (l *overhearing) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &overheard{conn, &l.written}, nil
}

type overheard struct {
	net.Conn
	written *heard
}

func (c *overheard) Write(p []byte) (int, error) {
	_, _ = c.written.Write(p)
	return c.Conn.Write(p)
}

// helloRequest is the server's second record under the keys of a connection: a HelloRequest, by TLS_..._AES_128_GCM_SHA256
// (RFC 5246 sections 6.2.3.3 and 6.3, RFC 5288 section 3). keyLog is the line of the connection's master secret, and said
// begins with the ServerHello.
func helloRequest(keyLog, said string) []byte {
	fields := strings.Fields(keyLog)
	clientRandom, _ := hex.DecodeString(fields[1])
	master, _ := hex.DecodeString(fields[2])
	serverRandom := said[11:43] // behind the heads of record and message, and the version
	seed := []byte("key expansion" + serverRandom + string(clientRandom))
	sum := func(parts ...[]byte) []byte {
		mac := hmac.New(sha256.New, master)
		for _, part := range parts {
			mac.Write(part)
		}
		return mac.Sum(nil)
	}
	var block []byte
	for a := sum(seed); len(block) < 40; a = sum(a) {
		block = append(block, sum(a, seed)...)
	}
	key, salt := block[16:32], block[36:40]
	cipherBlock, _ := aes.NewCipher(key)
	sealer, _ := cipher.NewGCM(cipherBlock)
	sequence := binary.BigEndian.AppendUint64(nil, 1)
	message := []byte{0, 0, 0, 0} // HelloRequest, empty
	bound := slices.Concat(sequence, []byte{22, 3, 3, 0, 4})
	sealed := sealer.Seal(nil, slices.Concat(salt, sequence), message, bound)
	return slices.Concat([]byte{22, 3, 3, 0, 8 + 4 + 16}, sequence, sealed)
}

// addressRows are H11 and what H09 and H79 say of addresses: what is refused is not connected to, whatever it is called.
func addressRows() (rows []row) {
	for address, says := range map[string]string{
		"127.0.0.1": "loopback", "::1": "loopback", "::ffff:127.0.0.1": "loopback", "10.1.2.3": "private", "192.168.0.1": "private", "fd00::1": "private",
		"169.254.169.254": "never", "fe80::1": "never", "0.0.0.0": "never", "::": "never", "100.100.100.200": "never", "168.63.129.16": "never",
		"fd00:ec2::254": "never", "64:ff9b::169.254.169.254": "never", "2002:7f00:1::": "never", "224.0.0.1": "never", "255.255.255.255": "never",
	} {
		rows = append(rows, unsent("H11", "a name that is "+address, named(address)).saying(says))
		host := address
		if strings.Contains(address, ":") {
			host = "[" + address + "]"
		}
		rows = append(rows, unsent("H11", "the address "+address, literal("https", host)).saying(says))
	}
	// Other spellings of 127.0.0.1 and 169.254.169.254 are names, which nobody has.
	for _, host := range []string{"2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.1", "127.0.1", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"} {
		rows = append(rows, unsent("H11", "the address spelt "+host, literal("https", host)))
	}
	for _, host := range []string{"%31%32%37.0.0.1", "①②⑦.0.0.1", "127。0。0。1", "localhost%00.provider.test", "[::1%25lo]", "127.0.0.1%0d%0aX", "a@127.0.0.1", `a\@b`, ""} {
		rows = append(rows, unsent("H11", "the host "+host, literal("https", host)).saying("absolute https URL"))
	}
	return append(rows,
		unsent("H11", "a name without an address", named()).saying("resolved"),
		unsent("H11", "a name of several refused addresses", named("127.0.0.1", "10.0.0.1", "::1")),
		unsent("H79", "http to a name", literal("http", "provider.test")).saying("https"),
		unsent("H79", "http to loopback, without its flag", literal("http", "127.0.0.1")).saying("http"),
		unsent("H79", "http to a metadata service", literal("http", "169.254.169.254")).saying("https"),
	)
}
