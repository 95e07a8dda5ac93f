package jsonwrite

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

type inner struct {
	Text string `json:"text,omitempty"`
	N    *int   `json:"n,omitempty"`
}

type outer struct {
	Text  string          `json:"te<xt,omitempty"`
	Flag  bool            `json:"flag,omitempty"`
	Count int             `json:"count,omitempty"`
	List  []string        `json:"list,omitempty"`
	One   inner           `json:"one"`
	Many  []inner         `json:"many,omitempty"`
	Raw   json.RawMessage `json:"raw,omitempty"`
}

func (i inner) object() (o Object) {
	o.String("text", i.Text)
	o.Number("n", i.N)
	return o
}

func (x outer) object() (o Object) {
	o.String("te<xt", x.Text)
	o.Bool("flag", x.Flag)
	o.Int("count", x.Count)
	o.Strings("list", x.List)
	o.Object("one", x.One.object())
	var many []Object
	for _, i := range x.Many {
		many = append(many, i.object())
	}
	o.Objects("many", many)
	o.Raw("raw", x.Raw)
	return o
}

// What is written is what encoding/json writes, byte for byte.
func TestAsEncodingJSON(t *testing.T) {
	inners := rapid.Custom(func(t *rapid.T) inner {
		return inner{rapid.String().Draw(t, "text"), rapid.Ptr(rapid.Int(), true).Draw(t, "n")}
	})
	objects := 0
	rapid.Check(t, func(t *rapid.T) {
		x := outer{
			Text: string(rapid.SliceOf(rapid.Byte()).Draw(t, "text")), Flag: rapid.Bool().Draw(t, "flag"), Count: rapid.Int().Draw(t, "count"),
			List: rapid.SliceOf(rapid.String()).Draw(t, "list"), One: inners.Draw(t, "one"), Many: rapid.SliceOf(inners).Draw(t, "many"),
			Raw: rapid.SampledFrom([]json.RawMessage{nil, []byte(`{"a":[1,"b"]}`)}).Draw(t, "raw"),
		}
		want, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		o := x.object()
		if got := o.JSON(); string(got) != string(want) {
			t.Errorf("%s\nwant\n%s", got, want)
		}
		objects++
	})
	t.Logf("%d objects", objects)
}

func TestEmpty(t *testing.T) {
	var o Object
	if got := o.JSON(); string(got) != "{}" {
		t.Errorf("%s", got)
	}
	t.Log("1 object")
}
