package leaks_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"testing"

	"github.com/oauth-operator/oauth-operator/test/leaks"
)

const planted = "opat_pl4nted/token+with=signs&more"

func TestSearchFindsEveryForm(t *testing.T) {
	t.Parallel()
	quoted, err := json.Marshal("body:\n" + hex.Dump([]byte("before the token "+planted+" and after it")))
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]string{
		"raw":                       "token " + planted + " end",
		"base64 at offset 0":        base64.StdEncoding.EncodeToString([]byte(planted + "tail")),
		"base64 at offset 1":        base64.StdEncoding.EncodeToString([]byte("x" + planted + "tail")),
		"base64 at offset 2":        base64.StdEncoding.EncodeToString([]byte("xx" + planted + "tail")),
		"base64url without padding": base64.RawURLEncoding.EncodeToString([]byte("xyz" + planted)),
		"hex":                       hex.EncodeToString([]byte("a" + planted)),
		"hex dump":                  hex.Dump([]byte("before the token " + planted + " and after it")),
		"hex dump in a JSON log":    `{"msg":` + string(quoted) + `}`,
		"query":                     "https://x/?" + url.Values{"t": {planted}}.Encode(),
		"JSON":                      `{"t":"opat_pl4nted/token+with=signs\u0026more"}`,
	}
	for name, text := range cases {
		if len(leaks.Search([]byte(text), planted)) == 0 {
			t.Errorf("%s: not found in %q", name, text)
		}
	}
}

func TestSearchFindsNothingInWhatIsClean(t *testing.T) {
	t.Parallel()
	clean := "opat_another/token " + base64.StdEncoding.EncodeToString([]byte("opat_another/token+with")) + hex.Dump([]byte("opat_another"))
	if found := leaks.Search([]byte(clean), planted); len(found) != 0 {
		t.Errorf("found %v", found)
	}
}
