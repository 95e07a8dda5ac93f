package testcluster

import (
	"net/netip"
	"testing"
)

// Service is a service of both protocols in front of pods.
type Service struct {
	Name      string
	Selector  map[string]string
	Type      string // "": ClusterIP
	Local     bool   // externalTrafficPolicy
	Affinity  bool   // sessionAffinity ClientIP
	Namespace *Namespace

	Addrs       []netip.Addr // cluster addresses
	NodePort    int          // of TCP
	NodePortUDP int
}

// Addr is the service's address of a family.
func (s *Service) Addr(ipv6 bool) netip.Addr { return ofFamily(s.Addrs, ipv6) }

// Ports of services.
const (
	ServiceTCP = 80
	ServiceUDP = 81
)

// Serve makes services and learns their addresses.
func (n *Namespace) Serve(tb testing.TB, services ...*Service) {
	tb.Helper()
	for _, s := range services {
		s.Namespace = n
		spec := Object{
			"selector": s.Selector, "ipFamilyPolicy": "PreferDualStack",
			"ports": []any{
				Object{"name": "tcp", "port": ServiceTCP, "targetPort": TCPPort, "protocol": "TCP"},
				Object{"name": "udp", "port": ServiceUDP, "targetPort": UDPPort, "protocol": "UDP"},
			},
		}
		if s.Type != "" {
			spec["type"] = s.Type
		}
		if s.Local {
			spec["externalTrafficPolicy"] = "Local"
		}
		if s.Affinity {
			spec["sessionAffinity"] = "ClientIP"
		}
		n.Apply(tb, Object{
			"apiVersion": "v1", "kind": "Service", "spec": spec,
			"metadata": Object{"name": s.Name, "namespace": n.Name},
		})
		n.learn(tb, s)
	}
}

func (n *Namespace) learn(tb testing.TB, s *Service) {
	tb.Helper()
	var got struct {
		Spec struct {
			ClusterIPs []netip.Addr
			Ports      []struct {
				Name     string
				NodePort int
			}
		}
	}
	n.JSON(tb, &got, "-n", n.Name, "get", "service", s.Name)
	s.Addrs = got.Spec.ClusterIPs
	for _, p := range got.Spec.Ports {
		if p.Name == "tcp" {
			s.NodePort = p.NodePort
		} else {
			s.NodePortUDP = p.NodePort
		}
	}
}
