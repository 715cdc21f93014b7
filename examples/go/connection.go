package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// connection says how to reach the service, and as whom.
type connection struct {
	endpoint string
	tls      *tls.Config
}

// fromEnvironment takes the folder of a running `chancery dev` from CHANCERY_DEV, or else CHANCERY_ENDPOINT, CHANCERY_CA,
// CHANCERY_CERT and CHANCERY_KEY.
func fromEnvironment() (*connection, error) {
	dir := os.Getenv("CHANCERY_DEV")
	if dir == "" {
		return connect(os.Getenv("CHANCERY_ENDPOINT"), os.Getenv("CHANCERY_CA"), os.Getenv("CHANCERY_CERT"), os.Getenv("CHANCERY_KEY"))
	}
	text, err := os.ReadFile(filepath.Join(dir, "dev.json"))
	if err != nil {
		return nil, err
	}
	var dev struct {
		Endpoint string
		CA       string
		Caller   struct{ Cert, Key string }
	}
	if err := json.Unmarshal(text, &dev); err != nil {
		return nil, fmt.Errorf("dev.json: %w", err)
	}
	return connect(dev.Endpoint, dev.CA, dev.Caller.Cert, dev.Caller.Key)
}

func connect(endpoint, ca, cert, key string) (*connection, error) {
	if endpoint == "" {
		return nil, errors.New("set CHANCERY_DEV, or CHANCERY_ENDPOINT, CHANCERY_CA, CHANCERY_CERT and CHANCERY_KEY")
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", ca)
	}
	identity, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{identity}, MinVersion: tls.VersionTLS12}
	return &connection{endpoint, config}, nil
}

// target is the endpoint as gRPC wants it.
func (c *connection) target() string {
	return strings.TrimPrefix(c.endpoint, "https://")
}
