package seal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// plantedReply stands in the reply of the fixture.
const plantedReply = `{"access_token":"reply-planted-24680","refresh_token":"reply-planted-13579"}`

func fullReceipt() seal.Receipt {
	return seal.Receipt{
		ClaimID: "5c0b1d2e-0000-4000-8000-00000000c1a1", Attempt: 2, Spent: strings.Repeat("a2", 26),
		Template: fullCredential(), DefaultLifetime: time.Hour, Reply: []byte(plantedReply),
	}
}

func mustSealReceipt(tb testing.TB, keyring *seal.Keyring, subject seal.Subject, r seal.Receipt) string {
	tb.Helper()
	sealed, err := keyring.SealReceipt(subject, r)
	if err != nil {
		tb.Fatal(err)
	}
	return sealed
}

// receiptParts are the associated data of acme's receipt.
func receiptParts() []string {
	parts := boundParts()
	parts[1] = "journal"
	return parts
}

// receiptFields compares receipts, which otherwise print and compare as the name of their claim.
func receiptFields(r seal.Receipt) []any {
	return []any{r.ClaimID, r.Attempt, r.Spent, r.Template, r.DefaultLifetime, string(r.Reply)}
}

func TestAReceiptComesBackAsItWasSealed(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	cases := map[string]func(*seal.Receipt){
		"everything set":       func(*seal.Receipt) {},
		"nothing spent":        func(r *seal.Receipt) { r.Spent = "" },
		"no default lifetime":  func(r *seal.Receipt) { r.DefaultLifetime = 0 },
		"the longest lifetime": func(r *seal.Receipt) { r.DefaultLifetime = time.Duration(1<<63 - 1).Truncate(time.Second) },
		"a template without tokens": func(r *seal.Receipt) {
			r.Template.AccessToken, r.Template.RefreshToken = secret.Value{}, secret.Value{}
		},
		"a template with imports": func(r *seal.Receipt) { r.Template.Imports = []string{"a"} },
		"a reply of every byte":   func(r *seal.Receipt) { r.Reply = everyByte() },
		"a reply of one byte":     func(r *seal.Receipt) { r.Reply = []byte{0} },
		"the largest attempt":     func(r *seal.Receipt) { r.Attempt = 1<<31 - 1 },
		"the longest claim id":    func(r *seal.Receipt) { r.ClaimID = strings.Repeat("Z", 64) },
	}
	for name, change := range cases {
		receipt := fullReceipt()
		change(&receipt)
		sealed := mustSealReceipt(t, keyring, acme(), receipt)
		opened, err := keyring.OpenReceipt(acme(), sealed)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(receiptFields(receipt), receiptFields(opened), revealed()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if id, err := seal.KeyID(sealed); err != nil || id != keyring.ID() {
			t.Errorf("%s: key id %q: %v", name, id, err)
		}
	}
}

func everyByte() []byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return all
}

func TestAReceiptIsRefusedThatWouldNotComeBack(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	broken := "broken-\xff\xfe"
	cases := map[string]func(*seal.Receipt){
		"no claim id":                 func(r *seal.Receipt) { r.ClaimID = "" },
		"a claim id too long":         func(r *seal.Receipt) { r.ClaimID = strings.Repeat("a", 65) },
		"a claim id that is a path":   func(r *seal.Receipt) { r.ClaimID = "../a" },
		"attempt 0":                   func(r *seal.Receipt) { r.Attempt = 0 },
		"a negative attempt":          func(r *seal.Receipt) { r.Attempt = -1 },
		"a fingerprint not UTF-8":     func(r *seal.Receipt) { r.Spent = broken },
		"a fingerprint too long":      func(r *seal.Receipt) { r.Spent = strings.Repeat("a", 65) },
		"a negative lifetime":         func(r *seal.Receipt) { r.DefaultLifetime = -time.Second },
		"half a second":               func(r *seal.Receipt) { r.DefaultLifetime = time.Second / 2 },
		"no reply":                    func(r *seal.Receipt) { r.Reply = nil },
		"a reply too long":            func(r *seal.Receipt) { r.Reply = make([]byte, seal.MaxReplyLength+1) },
		"a template not UTF-8":        func(r *seal.Receipt) { r.Template.Identity = broken },
		"a template with a bad count": func(r *seal.Receipt) { r.Template.Rotation = -1 },
		"a template too long":         func(r *seal.Receipt) { r.Template.Identity = strings.Repeat("a", 400_000) },
	}
	for name, change := range cases {
		receipt := fullReceipt()
		change(&receipt)
		sealed, err := keyring.SealReceipt(acme(), receipt)
		if !errors.Is(err, seal.ErrInvalidInput) || sealed != "" {
			t.Errorf("%s: got %d bytes and %v", name, len(sealed), err)
			continue
		}
		for _, planted := range []string{broken, plantedAccess, plantedRefresh, "reply-planted"} {
			if strings.Contains(err.Error(), planted) {
				t.Errorf("%s: the error quotes a value: %v", name, err)
			}
		}
	}
	if _, err := keyring.SealReceipt(seal.Subject{ClusterID: "c", Namespace: "n", Name: "a"}, fullReceipt()); !errors.Is(err, seal.ErrInvalidInput) {
		t.Errorf("no UID: got %v", err)
	}
}

func TestAReceiptIsNoCredentialAndTheReverse(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	receipt := mustSealReceipt(t, keyring, acme(), fullReceipt())
	for purpose, want := range map[seal.Purpose]error{seal.PurposeJournal: seal.ErrMalformed, seal.PurposeCredential: seal.ErrUnreadable} {
		opened, err := keyring.Open(purpose, acme(), receipt)
		if !errors.Is(err, want) || !opened.AccessToken.Empty() || !opened.RefreshToken.Empty() {
			t.Errorf("a receipt as %s: got %v", purpose, err)
		}
		if _, err := keyring.OpenReceipt(acme(), mustSeal(t, keyring, purpose, acme(), fullCredential())); !errors.Is(err, want) {
			t.Errorf("a %s as a receipt: got %v", purpose, err)
		}
	}
}

func TestS10AReceiptOfAnotherAccountNamespaceOrClusterDoesNotOpen(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	sealed := mustSealReceipt(t, keyring, acme(), fullReceipt())
	cases := map[string]func(*seal.Subject){
		"another cluster":   func(s *seal.Subject) { s.ClusterID += "x" },
		"another namespace": func(s *seal.Subject) { s.Namespace += "x" },
		"another name":      func(s *seal.Subject) { s.Name += "x" },
		"another UID":       func(s *seal.Subject) { s.UID += "x" },
	}
	for name, change := range cases {
		subject := acme()
		change(&subject)
		if opened, err := keyring.OpenReceipt(subject, sealed); !errors.Is(err, seal.ErrUnreadable) || opened.Reply != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if opened, err := newKeyring(t).OpenReceipt(acme(), sealed); !errors.Is(err, seal.ErrUnknownKey) || opened.Reply != nil {
		t.Errorf("another keyring: got %v", err)
	}
}

// smallReceiptText is the JSON of the smallest receipt.
const smallReceiptText = `{"clm":"c-1","att":1,"tpl":{"cid":"c","lin":"l","gsq":1,"rot":2,"csq":3},"rpl":"cg=="}`

func TestTheReceiptHasTheDocumentedFormat(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	cases := map[string]seal.Receipt{
		smallReceiptText: {
			ClaimID: "c-1", Attempt: 1, Reply: []byte("r"),
			Template: seal.Credential{ClientID: "c", Lineage: "l", GrantSequence: 1, Rotation: 2, ClaimSequence: 3},
		},
		`{"clm":"c-1","att":2,"spt":"f","tpl":{"cid":"c","lin":"l","gsq":1,"rot":2,"csq":3,"rt":"r<&>"},"dlt":60,"rpl":"+/8="}`: {
			ClaimID: "c-1", Attempt: 2, Spent: "f", DefaultLifetime: time.Minute, Reply: []byte{0xfb, 0xff},
			Template: seal.Credential{ClientID: "c", Lineage: "l", GrantSequence: 1, Rotation: 2, ClaimSequence: 3, RefreshToken: secret.New("r<&>")},
		},
	}
	for text, receipt := range cases {
		opened, err := keyring.OpenReceipt(acme(), sealByHand(t, keyring, receiptParts(), text))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(receiptFields(receipt), receiptFields(opened), revealed()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(text, textInside(t, keyring, receiptParts(), mustSealReceipt(t, keyring, acme(), receipt))); diff != "" {
			t.Errorf("SealReceipt writes other JSON than is documented: %s", diff)
		}
	}
}

func TestOpenReceiptIsStrictAboutWhatIsInside(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	with := func(more string) string { return strings.TrimSuffix(smallReceiptText, "}") + more + "}" }
	instead := func(old, text string) string { return strings.Replace(smallReceiptText, old, text, 1) }
	cases := map[string]struct {
		text string
		want error
	}{
		"the smallest receipt":                {smallReceiptText, nil},
		"a member that a later version added": {with(`,"tls":{"a":[1],"A":2}`), nil},
		"one that it added to the template":   {instead(`"cid"`, `"dpop":1,"cid"`), nil},
		"a duplicate member":                  {with(`,"att":424242`), seal.ErrMalformed},
		"a duplicate reply":                   {with(`,"rpl":"424242"`), seal.ErrMalformed},
		"a case variant":                      {with(`,"RPL":"424242"`), seal.ErrMalformed},
		"a duplicate in the template":         {instead(`"cid"`, `"cid":"424242","cid"`), seal.ErrMalformed},
		"a case variant in the template":      {instead(`"cid"`, `"CID":"424242","cid"`), seal.ErrMalformed},
		"no claim id":                         {instead(`"clm":"c-1",`, ``), seal.ErrMalformed},
		"a claim id that is a path":           {instead(`"c-1"`, `"../424242"`), seal.ErrMalformed},
		"no attempt":                          {instead(`"att":1,`, ``), seal.ErrMalformed},
		"attempt 0":                           {instead(`"att":1`, `"att":0`), seal.ErrMalformed},
		"an attempt beyond 32 bits":           {instead(`"att":1`, `"att":2147483648`), seal.ErrMalformed},
		"no template":                         {`{"clm":"c-1","att":1,"rpl":"cg=="}`, seal.ErrMalformed},
		"a template of null":                  {`{"clm":"c-1","att":1,"tpl":null,"rpl":"cg=="}`, seal.ErrMalformed},
		"a template without a counter":        {instead(`,"rot":2`, ``), seal.ErrMalformed},
		"no reply":                            {instead(`,"rpl":"cg=="`, ``), seal.ErrMalformed},
		"an empty reply":                      {instead(`"cg=="`, `""`), seal.ErrMalformed},
		"a reply that is not base64":          {instead(`"cg=="`, `"424242!"`), seal.ErrMalformed},
		"a negative lifetime":                 {with(`,"dlt":-1`), seal.ErrMalformed},
		"a lifetime beyond what can be held":  {with(`,"dlt":9223372037`), seal.ErrMalformed},
		"a lifetime with a fraction":          {with(`,"dlt":1.5`), seal.ErrMalformed},
		"a fingerprint too long":              {with(`,"spt":"` + strings.Repeat("a", 65) + `"`), seal.ErrMalformed},
		"text after the object":               {smallReceiptText + smallReceiptText, seal.ErrMalformed},
		"a credential":                        {smallText, seal.ErrMalformed},
		"null":                                {"null", seal.ErrMalformed},
		"nothing":                             {"", seal.ErrMalformed},
		"not UTF-8":                           {instead(`"lin":"l"`, "\"lin\":\"\xff\""), seal.ErrMalformed},
	}
	for name, c := range cases {
		opened, err := keyring.OpenReceipt(acme(), sealByHand(t, keyring, receiptParts(), c.text))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v", name, err)
		}
		if c.want == nil && (string(opened.Reply) != "r" || opened.ClaimID != "c-1" || opened.Template.Rotation != 2) {
			t.Errorf("%s: opened something else", name)
		}
		if c.want != nil && (opened.Reply != nil || err != nil && strings.Contains(err.Error(), "424242")) {
			t.Errorf("%s: the error tells too much, or comes with a reply: %v", name, err)
		}
	}
}

func TestWhetherAReceiptCanBeSealedDoesNotDependOnWhatTheReplySays(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	widest := fullReceipt()
	widest.Template.AccessToken = secret.New(strings.Repeat(`"`, 64<<10))
	widest.Template.RefreshToken = widest.Template.AccessToken
	widest.Template.Identity = strings.Repeat("i", 120<<10)
	replies := map[string][]byte{
		"one byte":                       {1},
		"1 MiB":                          bytes.Repeat([]byte{0xff}, 1<<20),
		"1 MiB in base64":                bytes.Repeat([]byte("QUFB"), 1<<20/3+1),
		"the longest reply":              bytes.Repeat([]byte(`"`), seal.MaxReplyLength),
		"the longest, of what is not ok": bytes.Repeat([]byte{0xff}, seal.MaxReplyLength),
	}
	for name, reply := range replies {
		widest.Reply = reply
		sealed, err := keyring.SealReceipt(acme(), widest)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		t.Logf("%s: %d bytes", name, len(sealed))
		if most := len(reply)*16/9 + (386<<10)*4/3; len(sealed) > most || len(sealed) > seal.MaxSealedReceiptLength {
			t.Errorf("%s: %d bytes, more than %d", name, len(sealed), most)
		}
		if opened, err := keyring.OpenReceipt(acme(), sealed); err != nil || !bytes.Equal(opened.Reply, reply) {
			t.Errorf("%s: it does not come back: %v", name, err)
		}
	}
	if _, err := keyring.OpenReceipt(acme(), "v1:1:"+strings.Repeat("A", seal.MaxSealedReceiptLength)); !errors.Is(err, seal.ErrMalformed) {
		t.Errorf("longer than any: got %v", err)
	}
}

func TestEveryChangedByteOfAReceiptIsNoticed(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	sealed := mustSealReceipt(t, keyring, acme(), fullReceipt())
	for i := range len(sealed) {
		for _, with := range []byte("A0:\n") {
			if sealed[i] == with {
				continue
			}
			if _, err := keyring.OpenReceipt(acme(), sealed[:i]+string(with)+sealed[i+1:]); err == nil {
				t.Fatalf("it opens with %q at %d", with, i)
			}
		}
	}
}

func TestNothingPrintsAReceipt(t *testing.T) {
	t.Parallel()
	receipt := fullReceipt()
	type holder struct{ Receipt seal.Receipt }
	held := holder{receipt}
	outputs := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s", "%c", "%U"} {
		outputs[verb] = fmt.Sprintf(strings.Repeat(verb+" ", 5), receipt, &receipt, held, &held, []any{held, &receipt})
	}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("m", "receipt", receipt, "pointer", &receipt, "held", held)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("m", "receipt", receipt, "pointer", &receipt, "held", held)
	outputs["slog"] = logged.String()
	asJSON, err := json.Marshal(map[string]any{"receipt": receipt, "pointer": &receipt, "held": held})
	if err != nil {
		t.Fatal(err)
	}
	outputs["json"] = string(asJSON)
	text, err := receipt.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	outputs["text"] = string(text)
	var planted []string
	for _, text := range []string{plantedAccess, plantedRefresh, plantedReply} {
		planted = append(planted, encodings(text)...)
		planted = append(planted, fmt.Sprintf("%d", []byte(text))[1:40], fmt.Sprintf("%#x", []byte(text)))
	}
	for how, output := range outputs {
		for _, text := range append(planted, "reply-planted") {
			if strings.Contains(output, text) {
				t.Errorf("%s prints %q", how, text)
			}
		}
		if !strings.Contains(output, receipt.ClaimID) {
			t.Errorf("%s does not name the claim: %s", how, output)
		}
	}
}
