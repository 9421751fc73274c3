// The row in Go: net, a goroutine per connection. Small frames are answered from
// a bufio.Reader, those that came together at once; long payloads go past it to a
// reused buffer, and leave with their header by net.Buffers. GOMAXPROCS is as Go
// sets it.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"strings"
	"time"
)

const maxFrame = 256 << 20

// A prefix is the length before each frame.
type prefix struct {
	size   int
	encode func([]byte, uint64)
	decode func([]byte) uint64
}

var prefixes = map[string]prefix{
	"u32be": {4,
		func(b []byte, n uint64) { binary.BigEndian.PutUint32(b, uint32(n)) },
		func(b []byte) uint64 { return uint64(binary.BigEndian.Uint32(b)) }},
	"u64le": {8, binary.LittleEndian.PutUint64, binary.LittleEndian.Uint64},
}

// complete tells how many of these bytes are whole frames.
func (p prefix) complete(bytes []byte) int {
	end := 0
	for len(bytes)-end >= p.size {
		length := p.decode(bytes[end:])
		if uint64(len(bytes)-end-p.size) < length {
			break
		}
		end += p.size + int(length)
	}
	return end
}

// A wire carries frames, all long ones into one buffer.
type wire struct {
	net.Conn
	prefix
	reader *bufio.Reader
	header []byte
	buffer []byte
}

func newWire(connection net.Conn, p prefix) *wire {
	reader := bufio.NewReaderSize(connection, ahead)
	return &wire{connection, p, reader, make([]byte, p.size), nil}
}

// What is read ahead: more than the small frames of a burst.
const ahead = 8 << 10

// answer sends back all frames that have arrived whole, or else the next one.
func (w *wire) answer() error {
	if _, err := w.reader.Peek(1); err != nil {
		return err
	}
	arrived, _ := w.reader.Peek(w.reader.Buffered())
	if whole := w.complete(arrived); whole > 0 {
		if _, err := w.Write(arrived[:whole]); err != nil {
			return err
		}
		_, err := w.reader.Discard(whole)
		return err
	}
	payload, err := w.receive()
	if err != nil {
		return err
	}
	return w.send(payload)
}

func (w *wire) receive() ([]byte, error) {
	if _, err := io.ReadFull(w.reader, w.header); err != nil {
		return nil, err
	}
	length := w.decode(w.header)
	if length > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes, above the limit of %d", length, maxFrame)
	}
	if uint64(len(w.buffer)) < length {
		w.buffer = make([]byte, length)
	}
	_, err := io.ReadFull(w.reader, w.buffer[:length])
	return w.buffer[:length], err
}

func (w *wire) send(payload []byte) error {
	w.encode(w.header, uint64(len(payload)))
	both := net.Buffers{w.header, payload}
	_, err := both.WriteTo(w.Conn)
	return err
}

// split turns host:port or unix:/path into what package net takes.
func split(address string) (network, name string) {
	if path := strings.TrimPrefix(address, "unix:"); path != address {
		return "unix", path
	}
	return "tcp", address
}

func serve(listen string, p prefix) error {
	network, name := split(listen)
	if network == "unix" {
		os.Remove(name)
	}
	listener, err := net.Listen(network, name)
	if err != nil {
		return err
	}
	if network == "tcp" {
		name = listener.Addr().String()
	} else {
		name = "unix:" + name
	}
	fmt.Printf("listening on %s\n", name)
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go echo(newWire(connection, p))
	}
}

func echo(w *wire) {
	defer w.Close()
	for {
		err := w.answer()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "a connection ended: %v\n", err)
			return
		}
	}
}

func bulk(connect string, p prefix, size, frames, warmup int) error {
	network, name := split(connect)
	connection, err := net.Dial(network, name)
	if err != nil {
		return err
	}
	w := newWire(connection, p)
	// Sent in turn. No byte of one is the same in the other.
	payloads := [2][]byte{make([]byte, size), make([]byte, size)}
	rand.New(rand.NewSource(1)).Read(payloads[0])
	for i, octet := range payloads[0] {
		payloads[1][i] = ^octet
	}
	turn := 0
	exchange := func() ([]byte, error) {
		turn = 1 - turn
		if err := w.send(payloads[turn]); err != nil {
			return nil, err
		}
		answer, err := w.receive()
		if err == nil && len(answer) != size {
			err = errors.New("an answer of wrong length")
		}
		return answer, err
	}
	for i := 0; i < warmup; i++ {
		answer, err := exchange()
		if err != nil {
			return err
		}
		if !bytes.Equal(answer, payloads[turn]) {
			return errors.New("an answer of wrong bytes")
		}
	}
	word := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	word.ReadString('\n')
	var answer []byte
	start := time.Now()
	for i := 0; i < frames; i++ {
		if answer, err = exchange(); err != nil {
			return err
		}
	}
	seconds := time.Since(start).Seconds()
	if !bytes.Equal(answer, payloads[turn]) {
		return errors.New("an answer of wrong bytes")
	}
	figures, err := json.Marshal(map[string]any{
		"seconds": seconds, "frames": frames, "bytes": frames * size,
	})
	if err != nil {
		return err
	}
	fmt.Println(string(figures))
	word.ReadString('\n')
	return nil
}

func run() error {
	if len(os.Args) < 2 {
		return errors.New("expected serve or bulk")
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	listen := flags.String("listen", "", "")
	connect := flags.String("connect", "", "")
	name := flags.String("prefix", "u32be", "")
	size := flags.Int("size", 0, "")
	frames := flags.Int("frames", 1, "")
	warmup := flags.Int("warmup", 1, "")
	flags.Parse(os.Args[2:])
	p, known := prefixes[*name]
	switch {
	case !known:
		return fmt.Errorf("no prefix %q", *name)
	case os.Args[1] == "serve":
		return serve(*listen, p)
	case os.Args[1] == "bulk":
		return bulk(*connect, p, *size, *frames, *warmup)
	}
	return fmt.Errorf("no verb %q", os.Args[1])
}

func main() {
	// Go raises the limit of open files and sets TCP_NODELAY by itself.
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "go: %v\n", err)
		os.Exit(1)
	}
}
