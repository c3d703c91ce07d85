package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificateLifetime is far beyond any test.
const certificateLifetime = 30 * 24 * time.Hour

// newCertificate makes a CA, whose key is forgotten at once, and the one certificate that it signs. The CA's own comes
// back in PEM.
func newCertificate() (server tls.Certificate, authority []byte, err error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	issuer := certificateTemplate("authserver test CA")
	issuer.IsCA, issuer.BasicConstraintsValid = true, true
	issuer.KeyUsage = x509.KeyUsageCertSign
	issuerDER, err := x509.CreateCertificate(rand.Reader, issuer, issuer, authorityKey.Public(), authorityKey)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf := certificateTemplate("authserver")
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leaf.DNSNames = []string{"localhost"}
	leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, issuer, key.Public(), authorityKey)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuerDER}), nil
}

func certificateTemplate(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // never fails: it ends the process instead
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(certificateLifetime),
	}
}

// writeAuthority puts ca.crt in place whole: somebody may be waiting for it to appear.
func writeAuthority(folder string, certificate []byte) error {
	path := filepath.Join(folder, "ca.crt")
	err := errors.Join(os.MkdirAll(folder, 0o750), os.WriteFile(path+".new", certificate, 0o600), os.Rename(path+".new", path))
	if err != nil {
		return fmt.Errorf("write the CA's certificate: %w", err)
	}
	return nil
}
