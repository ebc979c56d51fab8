// A DTLS peer over an implementation that is not ours, for test/interop/dtls.test.ts only.
//
//	dtls-peer server -ca FILE -cert FILE -key FILE [SETTINGS]
//	dtls-peer client -to HOST:PORT -ca FILE [-cert FILE -key FILE] [-count N] [SETTINGS]
//
// A server echoes every record. A client sends N of them, each again until it comes back.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/elliptic"
)

const patience = 60 * time.Second

type settings struct {
	ca, cert, key, name string
	mtu                 int
	interval            time.Duration
	isP256              bool
}

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("usage: dtls-peer server|client FLAG..."))
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	var set settings
	to := flags.String("to", "", "whom a client dials")
	count := flags.Int("count", 3, "how many records a client sends")
	size := flags.Int("size", 100, "bytes of each")
	flags.StringVar(&set.ca, "ca", "", "the CA of the other end")
	flags.StringVar(&set.cert, "cert", "", "our certificate")
	flags.StringVar(&set.key, "key", "", "its key")
	flags.StringVar(&set.name, "name", "godoxy.agent", "the server's name")
	flags.IntVar(&set.mtu, "mtu", 1200, "bytes of a handshake's datagrams")
	flags.DurationVar(&set.interval, "interval", time.Second, "before a flight is repeated")
	flags.BoolVar(&set.isP256, "p256", false, "no other group")
	_ = flags.Parse(os.Args[2:])
	switch os.Args[1] {
	case "server":
		fail(serve(set))
	case "client":
		fail(ask(*to, *count, *size, set))
	default:
		fail(fmt.Errorf("no role %q", os.Args[1]))
	}
}

func serve(set settings) error {
	config, err := set.config()
	if err != nil {
		return err
	}
	config.ClientAuth = dtls.RequireAndVerifyClientCert
	listener, err := dtls.Listen("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, config)
	if err != nil {
		return err
	}
	fmt.Println("listening", listener.Addr().(*net.UDPAddr).Port)
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			if err := echo(conn.(*dtls.Conn)); err != nil {
				fmt.Println("session failed:", err)
				return
			}
			fmt.Println("session ended")
		}()
	}
}

func echo(conn *dtls.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	fmt.Println("session begun")
	buffer := make([]byte, 16384)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return nil
		}
		if _, err := conn.Write(buffer[:n]); err != nil {
			return err
		}
	}
}

func ask(to string, count, size int, set settings) error {
	config, err := set.config()
	if err != nil {
		return err
	}
	address, err := net.ResolveUDPAddr("udp", to)
	if err != nil {
		return err
	}
	conn, err := dtls.Dial("udp", address, config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	buffer := make([]byte, 16384)
	for index := range count {
		message := bytes.Repeat([]byte{byte(index)}, size)
		if err := untilEchoed(conn, message, buffer); err != nil {
			return err
		}
	}
	fmt.Println("echoed", count)
	return conn.Close()
}

func untilEchoed(conn *dtls.Conn, message, buffer []byte) error {
	for range 50 {
		if _, err := conn.Write(message); err != nil {
			return err
		}
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		for {
			n, err := conn.Read(buffer)
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				break
			}
			if err != nil {
				return err
			}
			if bytes.Equal(buffer[:n], message) {
				return nil
			}
		}
	}
	return errors.New("no echo")
}

func (set settings) config() (*dtls.Config, error) {
	pem, err := os.ReadFile(set.ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	config := &dtls.Config{
		CipherSuites:         []dtls.CipherSuiteID{dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		ExtendedMasterSecret: dtls.RequireExtendedMasterSecret,
		RootCAs:              pool,
		ClientCAs:            pool,
		ServerName:           set.name,
		MTU:                  set.mtu,
		FlightInterval:       set.interval,
	}
	if set.isP256 {
		config.EllipticCurves = []elliptic.Curve{elliptic.P256}
	}
	if set.cert != "" {
		pair, err := tls.LoadX509KeyPair(set.cert, set.key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func fail(err error) {
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "dtls-peer:", err)
	os.Exit(1)
}
