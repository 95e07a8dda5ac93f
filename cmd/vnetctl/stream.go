package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
)

// Sizes of a stream of flows, in bytes.
const (
	chunkSize = 128 << 10
	maxLine   = 1 << 20
)

// openFlows opens a file of flows and tells what to call it.
func openFlows(c *cobra.Command, path string) (io.ReadCloser, string, error) {
	if path == "-" {
		return io.NopCloser(c.InOrStdin()), "standard input", nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, "", fmt.Errorf("--flows: %w", err)
	}
	return file, path, nil
}

// chunk is some whole lines and what is answered to them.
type chunk struct {
	text  string
	first int           // number of the first line
	done  chan struct{} // closed when the rest is there

	answers []byte
	err     error // behind the answers, nothing follows
}

// stream answers each line of in with a line of out, in their order. The first
// line that is no flow ends it, after the answers to all lines before. What can be
// read is answered at once, without waiting for more.
func (j *judges) stream(in io.Reader, out io.Writer) error {
	workers := runtime.GOMAXPROCS(0)
	work := make(chan *chunk, workers)
	order := make(chan *chunk, 2*workers)
	stop := make(chan struct{})
	defer close(stop) // a reader that waits for input notices when some comes
	go (&cutter{work, order, stop, 1}).run(in)
	for range workers {
		go func() {
			for c := range work {
				c.answers, c.err = j.answerLines(c.text, c.first)
				close(c.done)
			}
		}()
	}
	for c := range order {
		<-c.done
		if _, err := out.Write(c.answers); err != nil {
			return fmt.Errorf("write the answers: %w", err)
		}
		if c.err != nil {
			return c.err
		}
	}
	return nil
}

// cutter reads whole lines and hands them to the workers, and in their order to
// who waits for the answers.
type cutter struct {
	work, order chan<- *chunk
	stop        <-chan struct{}
	line        int // number of the next one
}

// send hands over lines, or what ended them. It reports whether there may be more.
func (c *cutter) send(text []byte, err error) bool {
	next := &chunk{text: string(text), first: c.line, done: make(chan struct{}), err: err}
	c.line += bytes.Count(text, []byte("\n"))
	select {
	case c.order <- next:
	case <-c.stop:
		return false
	}
	if err != nil {
		close(next.done)
		return false
	}
	select {
	case c.work <- next:
		return true
	case <-c.stop:
		return false
	}
}

func (c *cutter) run(in io.Reader) {
	defer close(c.work)
	defer close(c.order)
	buf := make([]byte, 0, chunkSize)
	for {
		n, err := in.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if end := bytes.LastIndexByte(buf, '\n') + 1; end > 0 {
			if !c.send(buf[:end], nil) {
				return
			}
			buf = append(buf[:0], buf[end:]...)
		}
		switch {
		case errors.Is(err, io.EOF):
			if len(buf) > 0 {
				c.send(buf, nil)
			}
			return
		case err != nil:
			c.send(nil, fmt.Errorf("line %d: %w", c.line, err))
			return
		case len(buf) > maxLine:
			c.send(nil, fmt.Errorf("line %d: it is longer than %d bytes", c.line, maxLine))
			return
		case len(buf) == cap(buf):
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
	}
}

// answerLines answers lines until one is no flow. Empty ones have no answer.
func (j *judges) answerLines(text string, line int) ([]byte, error) {
	out := make([]byte, 0, len(text))
	var t flowText
	for ; text != ""; line++ {
		var one string
		one, text, _ = strings.Cut(text, "\n")
		if strings.TrimSpace(one) == "" {
			continue
		}
		err := t.unmarshal(one)
		if err == nil {
			out, err = j.answerLine(out, &t)
		}
		if err != nil {
			return out, fmt.Errorf("line %d: %w", line, err)
		}
	}
	return out, nil
}

func (j *judges) answerLine(out []byte, t *flowText) ([]byte, error) {
	_, v, err := j.ask(t)
	if err != nil {
		return out, err
	}
	return append(out, j.lines[v.Rule]...), nil
}
