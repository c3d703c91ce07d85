package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/oauth-operator/oauth-operator/internal/secret"
)

const planted = "s3cr3t-planted"

type holder struct {
	Name   string
	Public secret.Value
	hidden secret.Value
}

func TestValueNeverPrintsItself(t *testing.T) {
	value := secret.New(planted)
	held := holder{Name: "holder", Public: value, hidden: value}
	if held.hidden.Reveal() != planted {
		t.Fatal("Reveal must return the text")
	}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("m", "value", value, "held", held)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("m", "value", value, "held", held)
	asJSON, err := json.Marshal(map[string]any{"value": value, "held": held})
	if err != nil {
		t.Fatal(err)
	}
	asKey, err := json.Marshal(map[secret.Value]int{value: 1})
	if err != nil {
		t.Fatal(err)
	}
	outputs := map[string]string{"slog": logged.String(), "json": string(asJSON), "json key": string(asKey)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s", "%T"} {
		outputs[verb] = fmt.Sprintf(verb+verb+verb, value, held, []any{&held, value})
	}
	outputs["error"] = fmt.Errorf("failed with %v and %w", value, fmt.Errorf("inner %v", held)).Error()
	for how, output := range outputs {
		for _, form := range []string{planted, fmt.Sprintf("%x", planted), fmt.Sprintf("%X", planted)} {
			if strings.Contains(output, form) {
				t.Errorf("%s printed the secret: %s", how, output)
			}
		}
	}
	if !strings.Contains(outputs["%v"], secret.Redacted) {
		t.Errorf("the mark is missing: %s", outputs["%v"])
	}
}

func TestValueComparesByText(t *testing.T) {
	cases := map[string]struct {
		a, b secret.Value
		want bool
	}{
		"same text":        {secret.New("a"), secret.New("a"), true},
		"other text":       {secret.New("a"), secret.New("b"), false},
		"other length":     {secret.New("a"), secret.New("aa"), false},
		"zero and empty":   {secret.Value{}, secret.New(""), true},
		"zero and present": {secret.Value{}, secret.New("a"), false},
	}
	for name, c := range cases {
		if got := c.a.Equal(c.b); got != c.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
	if !(secret.Value{}).Empty() || secret.New("x").Empty() || secret.New("abc").Len() != 3 {
		t.Error("Empty or Len is wrong")
	}
	if secret.New("").String() != "" {
		t.Error("the zero Value prints nothing")
	}
}
