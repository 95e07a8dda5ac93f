package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// stuck is after how long without a whole pass the agent is to be started again.
const stuck = 2 * time.Minute

// Healthy tells whether the agent goes on looking; an error of the node is no
// reason to start it again.
func (a *Agent) Healthy() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if since := a.now().Sub(a.state.began); a.state.began.After(a.state.ended) && since > stuck {
		return fmt.Errorf("the look at the node that began %s ago does not end", since.Round(time.Second))
	}
	return nil
}

// Ready tells whether the node serves pods and is as it should be.
func (a *Agent) Ready() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state.ended.IsZero() {
		return errors.New("the first look at the node is not over")
	}
	return a.state.err
}

// maxScrapes is how many may ask for metrics at a time: each lists the rules.
const maxScrapes = 2

// Serve answers questions about the agent until the context ends: /healthz,
// /readyz, and /metrics for Prometheus.
func (a *Agent) Serve(ctx context.Context, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	server := a.server()
	go func() {
		<-ctx.Done()
		_ = server.Close() // nobody waits for an answer any more
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", address, err)
	}
	return nil
}

// server leaves no connection open for whoever neither asks nor reads, as anybody who
// reaches the node may connect.
func (a *Agent) server() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", answer(a.Healthy))
	mux.Handle("GET /readyz", answer(a.Ready))
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.Registry(), promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}))
	return &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute}
}

func answer(fault func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := fault(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}
