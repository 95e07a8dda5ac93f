package cri

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// fake is a runtime.
type fake struct {
	runtime.UnimplementedRuntimeServiceServer
	list func(context.Context, *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error)
}

func (f *fake) ListPodSandbox(ctx context.Context, r *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
	return f.list(ctx, r)
}

func (*fake) Version(context.Context, *runtime.VersionRequest) (*runtime.VersionResponse, error) {
	return &runtime.VersionResponse{RuntimeName: "fake", RuntimeVersion: "1.2"}, nil
}

// serve runs the fake at a socket until stop is called.
func serve(t *testing.T, socket string, f *fake) (stop func()) {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	runtime.RegisterRuntimeServiceServer(s, f)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(listener); err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	return func() { s.Stop(); <-done }
}

// sandboxes are as many as told, in states that alternate, and with annotations of
// a size.
func sandboxes(n, size int) *runtime.ListPodSandboxResponse {
	r := &runtime.ListPodSandboxResponse{}
	for i := range n {
		r.Items = append(r.Items, &runtime.PodSandbox{
			Id: fmt.Sprintf("id%d", i), State: runtime.PodSandboxState(i % 2),
			Annotations: map[string]string{"a": strings.Repeat("x", size)},
		})
	}
	return r
}

func TestSandboxes(t *testing.T) {
	t.Parallel()
	rows := []*runtime.ListPodSandboxResponse{
		sandboxes(0, 0), sandboxes(1, 10), sandboxes(250, 1000), sandboxes(500, 10_000), // beyond 4 MiB
	}
	for i, answer := range rows {
		socket := filepath.Join(t.TempDir(), "odd %20 name.sock")
		stop := serve(t, socket, &fake{list: func(_ context.Context, r *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
			if r.GetFilter() != nil {
				return nil, status.Error(codes.InvalidArgument, "a filter hides sandboxes")
			}
			return answer, nil
		}})
		defer stop()
		for _, address := range []string{socket, "unix://" + socket} {
			got, err := patiently(t, New(address))
			if err != nil || got == nil || len(got) != len(answer.Items) {
				t.Errorf("answer %d: %d sandboxes, %v", i, len(got), err)
				continue
			}
			for _, s := range answer.Items {
				if _, known := got[s.Id]; !known {
					t.Errorf("answer %d lacks %s", i, s.Id)
				}
			}
		}
	}
	t.Logf("%d answers", len(rows))
}

// patiently asks again where a busy machine takes longer for an answer than a runtime may.
func patiently(t *testing.T, r *Runtime) (got map[string]struct{}, err error) {
	t.Helper()
	for range 5 {
		if got, err = r.Sandboxes(t.Context()); status.Code(err) != codes.DeadlineExceeded {
			break
		}
	}
	return got, err
}

func TestPing(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	defer serve(t, socket, &fake{})()
	if name, err := New(socket).Ping(t.Context()); err != nil || name != "fake 1.2" {
		t.Errorf("%q, %v", name, err)
	}
	if _, err := New(socket + "x").Ping(t.Context()); err == nil {
		t.Error("nobody answered, and no error")
	}
	t.Log("2 runtimes")
}

// Whatever goes wrong is an error without sandboxes, and names the socket. To take
// it for an answer would be to take all pods for dead.
func TestErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	failing := func(err error) *fake {
		return &fake{list: func(context.Context, *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
			return sandboxes(3, 0), err
		}}
	}
	defer serve(t, at("starting"), failing(status.Error(codes.Unknown, "server is not initialized yet")))()
	defer serve(t, at("old"), failing(status.Error(codes.Unimplemented, "unknown service runtime.v1.RuntimeService")))()
	defer serve(t, at("huge"), &fake{list: func(context.Context, *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
		return sandboxes(7, 10<<20), nil
	}})()
	if err := os.WriteFile(at("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	closed, err := net.ListenUnix("unix", &net.UnixAddr{Name: at("closed"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	closed.SetUnlinkOnClose(false)
	closed.Close()
	noise(t, at("noise"))
	names := []string{"starting", "old", "huge", "file", "closed", "noise", "missing"}
	for _, name := range names {
		got, err := New(at(name)).Sandboxes(t.Context())
		if err == nil || got != nil || !strings.Contains(err.Error(), at(name)) {
			t.Errorf("%s: %d sandboxes, %v", name, len(got), err)
		}
	}
	if _, err := os.Stat(at("missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the missing socket: %v", err)
	}
	t.Logf("%d errors", len(names))
}

// noise listens and answers with what is no gRPC.
func noise(t *testing.T, socket string) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			c.Close()
		}
	}()
}

// A runtime that takes connections and never answers holds up nobody longer than
// the caller has time.
func TestDeadline(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	silent, err := net.Listen("unix", filepath.Join(dir, "silent"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	slow := &fake{list: func(ctx context.Context, _ *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
		deadline, set := ctx.Deadline()
		if !set || time.Until(deadline) > patience {
			t.Errorf("the deadline of the question: %v, %v", deadline, set)
		}
		<-ctx.Done()
		return sandboxes(1, 0), nil
	}}
	defer serve(t, filepath.Join(dir, "slow"), slow)()
	names := []string{"silent", "slow"}
	for _, name := range names {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		got, err := New(filepath.Join(dir, name)).Sandboxes(ctx)
		cancel()
		if err == nil || got != nil {
			t.Errorf("%s: %v, %v", name, slices.Collect(maps.Keys(got)), err)
		}
	}
	t.Logf("%d runtimes", len(names))
}

// A runtime that was restarted answers at once.
func TestRestart(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	r := New(socket)
	const rounds = 3
	for i := range rounds {
		stop := serve(t, socket, &fake{list: func(context.Context, *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
			return sandboxes(i, 0), nil
		}})
		if got, err := r.Sandboxes(t.Context()); err != nil || len(got) != i {
			t.Errorf("round %d: %d sandboxes, %v", i, len(got), err)
		}
		stop()
		if _, err := r.Sandboxes(t.Context()); err == nil {
			t.Errorf("round %d: a stopped runtime answered", i)
		}
	}
	t.Logf("%d rounds", rounds)
}
