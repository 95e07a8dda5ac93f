package nsg

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestTexts(t *testing.T) {
	for text, want := range map[string]Protocol{"Tcp": TCP, "Udp": UDP, "Icmp": ICMP, "Esp": ESP, "Ah": AH, "*": AnyProtocol} {
		for _, s := range []string{text, strings.ToUpper(text), strings.ToLower(text)} {
			if p, err := ParseProtocol(s); err != nil || p != want || p.String() != text {
				t.Errorf("ParseProtocol(%q) = %v, %v", s, p, err)
			}
		}
	}
	for text, want := range map[string]Direction{"Inbound": Inbound, "outBOUND": Outbound} {
		if d, err := ParseDirection(text); err != nil || d != want {
			t.Errorf("ParseDirection(%q) = %v, %v", text, d, err)
		}
	}
	for text, want := range map[string]Access{"Allow": Allow, "DENY": Deny} {
		if a, err := ParseAccess(text); err != nil || a != want {
			t.Errorf("ParseAccess(%q) = %v, %v", text, a, err)
		}
	}
}

func TestTextsThatAreNone(t *testing.T) {
	const bad = "n0ne"
	_, err1 := ParseProtocol(bad)
	_, err2 := ParseDirection(bad)
	_, err3 := ParseAccess(bad)
	for _, err := range []error{err1, err2, err3} {
		if err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("error %v does not name %q", err, bad)
		}
	}
	if _, err := json.Marshal(Direction(7)); err == nil || !strings.Contains(err.Error(), "Direction(7)") {
		t.Errorf("Direction(7) was written: %v", err)
	}
}

func TestTextsRoundTrip(t *testing.T) {
	type all struct {
		D Direction
		A Access
		P []Protocol
	}
	in := all{Outbound, Allow, []Protocol{AnyProtocol, TCP, gre, icmpv6}}
	text, err := json.Marshal(in)
	if want := `{"D":"Outbound","A":"Allow","P":["*","Tcp","47","58"]}`; err != nil || string(text) != want {
		t.Fatalf("%s, %v", text, err)
	}
	var out all
	if err := json.Unmarshal(text, &out); err != nil || out.D != in.D || out.A != in.A || len(out.P) != 4 || out.P[2] != gre || out.P[0] != AnyProtocol {
		t.Errorf("%+v, %v", out, err)
	}
}
