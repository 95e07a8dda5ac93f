package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"

	"sigs.k8s.io/yaml"
)

// cidrs is a list of them. What is none is told as a value of the wrong type is, for
// encoding/json names the key in no other error.
type cidrs []netip.Prefix

// UnmarshalJSON reads the list.
func (l *cidrs) UnmarshalJSON(data []byte) error {
	var list []string
	err := json.Unmarshal(data, &list)
	*l = nil
	for _, text := range list {
		prefix, wrong := netip.ParsePrefix(text)
		err = errors.Join(err, wrong)
		*l = append(*l, prefix)
	}
	if err != nil {
		return &json.UnmarshalTypeError{Value: string(data), Type: reflect.TypeFor[cidrs]()}
	}
	return nil
}

// inWords says of a value of the wrong type which one it is and what is wanted, as the
// plugin does: encoding/json speaks of Go's types and leaves the value out.
func inWords(err error, document []byte) error {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) || wrong.Field == "" {
		return err
	}
	return fmt.Errorf("%s: value %s is not %s", wrong.Field, clipped(valueAt(document, wrong)), wanted(wrong.Type))
}

// valueAt is what stands at the key that the error names, in a document that could be
// parsed.
func valueAt(document []byte, wrong *json.UnmarshalTypeError) string {
	var at any
	_ = yaml.Unmarshal(document, &at)
	for key := range strings.SplitSeq(wrong.Field, ".") {
		object, _ := at.(map[string]any)
		value, there := object[key]
		if !there { // encoding/json takes "Mtu" for "mtu"
			return wrong.Value
		}
		at = value
	}
	text, _ := json.Marshal(at) // it was JSON
	return string(text)
}

func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return `a list of CIDRs such as "10.0.0.0/8"`
	case reflect.Struct:
		return "an object"
	case reflect.Uint16, reflect.Uint32:
		return fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<t.Bits()-1)
	}
	return "a whole number"
}
