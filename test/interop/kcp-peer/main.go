// A KCP peer over an implementation that is not ours, for test/interop/kcp.test.ts only.
//
//	kcp-peer server [-at HOST:PORT] [SETTINGS]
//	kcp-peer client -to HOST:PORT -wish echo|up|down -size N [SETTINGS]
//
// What is said over KCP is in ../kcp-wish.ts.
package main

import (
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"hash"
	"io"
	"net"
	"os"
	"time"

	"github.com/xtaci/kcp-go/v5"
)

const (
	patience = 60 * time.Second
	// How long acknowledgements go on behind the last byte.
	farewell = time.Second
	block    = 256 * 1024
)

type settings struct {
	conv, mtu, window int
	isNormal          bool
}

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: kcp-peer server|client FLAG..."))
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	at := flags.String("at", "127.0.0.1:0", "where a server listens")
	to := flags.String("to", "", "whom a client dials")
	wish := flags.String("wish", "echo", "echo, up or down")
	size := flags.Int64("size", 0, "how many bytes")
	var set settings
	flags.IntVar(&set.conv, "conv", 0, "the conversation a client starts")
	flags.IntVar(&set.mtu, "mtu", 1250, "bytes in a datagram")
	flags.IntVar(&set.window, "window", 1024, "segments each way")
	flags.BoolVar(&set.isNormal, "normal", false, "with a congestion window, and 100 ms at least to resend")
	_ = flags.Parse(os.Args[2:])
	switch os.Args[1] {
	case "server":
		fail(serve(*at, set))
	case "client":
		fail(ask(*to, *wish, *size, set))
	default:
		fail(fmt.Errorf("no role %q", os.Args[1]))
	}
}

func serve(at string, set settings) error {
	listener, err := kcp.ListenWithOptions(at, nil, 0, 0)
	if err != nil {
		return err
	}
	_ = listener.SetReadBuffer(4 << 20)
	_ = listener.SetWriteBuffer(4 << 20)
	fmt.Println("listening", listener.Addr().(*net.UDPAddr).Port)
	for {
		session, err := listener.AcceptKCP()
		if err != nil {
			return err
		}
		set.apply(session)
		go func() {
			if err := answer(session); err != nil {
				fmt.Fprintln(os.Stderr, "session", session.RemoteAddr(), err)
			}
			time.Sleep(farewell)
			session.Close()
		}()
	}
}

// answer does what one client wishes.
func answer(session *kcp.UDPSession) error {
	var head [9]byte
	if _, err := io.ReadFull(session, head[:]); err != nil {
		return err
	}
	size := int64(binary.BigEndian.Uint64(head[1:]))
	var err error
	switch head[0] {
	case 'e':
		_, err = io.CopyN(session, session, size)
	case 'd':
		err = sendPattern(session, size)
	case 'u':
		digest := sha256.New()
		if _, err = io.CopyN(digest, session, size); err == nil {
			_, err = session.Write(digest.Sum(nil))
		}
	default:
		err = fmt.Errorf("no wish %q", head[0])
	}
	if err != nil {
		return err
	}
	_, err = io.ReadFull(session, head[:1])
	return err
}

// ask sends a wish and says what came of it.
func ask(to, wish string, size int64, set settings) error {
	address, err := net.ResolveUDPAddr("udp", to)
	if err != nil {
		return err
	}
	socket, err := net.ListenUDP("udp", nil)
	if err != nil {
		return err
	}
	session, err := kcp.NewConn3(uint32(set.conv), address, nil, 0, 0, socket)
	if err != nil {
		return err
	}
	set.apply(session)
	_ = session.SetReadBuffer(4 << 20)
	_ = session.SetWriteBuffer(4 << 20)
	var head [9]byte
	head[0] = wish[0]
	binary.BigEndian.PutUint64(head[1:], uint64(size))
	if _, err := session.Write(head[:]); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		if head[0] == 'd' {
			sent <- nil
			return
		}
		sent <- sendPattern(session, size)
	}()
	var digest hash.Hash = sha256.New()
	sum := make([]byte, sha256.Size)
	if head[0] == 'u' {
		_, err = io.ReadFull(session, sum)
	} else if _, err = io.CopyN(digest, session, size); err == nil {
		sum = digest.Sum(nil)
	}
	if err != nil {
		return err
	}
	if err := <-sent; err != nil {
		return err
	}
	if _, err := session.Write([]byte{'.'}); err != nil {
		return err
	}
	fmt.Printf("%s %d %x\n", wish, size, sum)
	time.Sleep(farewell)
	os.Exit(0)
	return nil
}

// sendPattern writes what patternStream in ../../support/origin.ts yields.
func sendPattern(out io.Writer, size int64) error {
	base := make([]byte, block)
	for at := range base {
		base[at] = byte(31*at + 7*(at>>8))
	}
	for at := int64(0); at < size; at += block {
		part := append([]byte(nil), base[:min(block, size-at)]...)
		if len(part) >= 8 {
			binary.BigEndian.PutUint64(part, uint64(at))
		}
		if _, err := out.Write(part); err != nil {
			return err
		}
	}
	return nil
}

func (set settings) apply(session *kcp.UDPSession) {
	session.SetStreamMode(true)
	session.SetMtu(set.mtu)
	session.SetWindowSize(set.window, set.window)
	if set.isNormal {
		session.SetNoDelay(0, 10, 0, 0)
	} else {
		session.SetNoDelay(1, 10, 1, 1)
	}
	_ = session.SetDeadline(time.Now().Add(patience))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "kcp-peer:", err)
	os.Exit(1)
}
