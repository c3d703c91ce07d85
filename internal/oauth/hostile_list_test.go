package oauth_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// place says where a behaviour is tried: here, in the tests that are named, or nowhere yet, for a reason.
type place struct {
	behaviour string
	elsewhere []string // names of tests, specs or subtests in the folders that elsewhere looks into
	missing   string   // what the project does not have, so that there is nothing to try
}

func here(behaviour string) place { return place{behaviour: behaviour} }

func elsewhere(behaviour string, tests ...string) place {
	return place{behaviour: behaviour, elsewhere: tests}
}

func missing(behaviour, what string) place { return place{behaviour: behaviour, missing: what} }

// hostileList is every behaviour of servers, networks and browsers that the project has thought of, by its id. What is here
// is a row of TestHostile.
func hostileList() map[string]place {
	return map[string]place{
		"H01": here("never answers"), "H02": here("headers byte by byte"), "H03": here("body byte by byte"), "H04": here("endless body"),
		"H05": here("packed bodies"), "H06": here("endless headers"), "H07": here("redirects"), "H08": here("redirects that keep the body"), "H09": here("redirects to inner places"),
		"H10": here("certificates and versions of TLS"), "H11": here("names and addresses of inner places"), "H12": here("cut before the answer"), "H13": here("nobody listens"),
		"H14": here("cut within the answer"), "H15": here("a proxy or gateway answers"),
		"H16": here("login page"), "H17": here("JSON under another name"), "H18": here("other charsets"), "H19": here("no UTF-8"), "H20": here("form-encoded answer"), "H21": here("no body"),
		"H22": here("no single object"), "H23": here("duplicate members"), "H24": here("members in other letters"), "H25": here("tokens of another type"), "H26": here("error and tokens"),
		"H27": here("errors of another shape"), "H28": here("errors of a provider's own"), "H29": here("errors with 200"), "H30": here("tokens without 200"),
		"H31": here("characters that no token has"), "H32": here("long tokens"), "H33": here("other token types"), "H34": here("lifetimes in other spellings"), "H35": here("negative lifetimes"),
		"H36": here("no lifetime"), "H37": here("endless lifetimes"), "H38": here("lifetimes that are none"), "H39": here("short lifetimes"), "H40": here("lifetimes in milliseconds"),
		"H41": here("reduced scope"),
		"H42": elsewhere("answer for another person", "H42 with the access of somebody else: the token is not used, the refresh token is not lost, and the account says so"),
		"H43": elsewhere("captured fields that lie", "TestCapturedFieldsThatLie"),
		"H44": here("id_token"), "H45": here("no new refresh token"),
		"H46": elsewhere("the API server takes nothing", "H46 is held until it can be, and nothing is sent meanwhile", "TestWhatTheAPIServerRefusesIsHeldAndKeptLater"),
		"H47": elsewhere("killed between answer and keep", "TestAKillAfterEveryEffect", "TestAKillBetweenAnswerAndKeepIsMadeGoodFromTheJournal"),
		"H48": elsewhere("answer lost, with a grace", "TestALostAnswerIsHadAgainWithinTheGrace", "TestALostAnswerIsAskedForAgainWithinTheGrace"),
		"H49": elsewhere("answer lost, without a grace", "TestALostAnswerIsLostWithoutAGrace", "TestALostAnswerWithoutGraceIsALossThatIsTold"),
		"H50": elsewhere("two replicas at once", "H50 that work on the same accounts send each refresh token once", "TestTwoReplicasThatBothBelieveToLead"),
		"H51": here("in process already"),
		"H52": elsewhere("refused, while a newer one is stored", "H52 with a refusal, while a newer one was put into the store: the newer one is used"),
		"H53": elsewhere("a thousand refusals at once", "H53 opens on a bad secret: few requests for many accounts, one event each, and all go on once it is right", "TestWhatOpensACircuit"),
		"H54": here("throttled"), "H55": here("unavailable"),
		"H56": elsewhere("client secret rotated", "H56 invalid_client, until the client's new secret is there: tried again at once, and the refresh token is not spent on it"),
		"H57": elsewhere("endpoint moved", "S12 H57 with another place to send it to: the place hears nothing, not even when the account is deleted"),
		"H58": elsewhere("clock jumps", "H58 by a day makes one request for each jump, and never takes a token for good that is not", "TestClockJumps"),
		"H59": here("refresh refused as too early"),
		"H60": elsewhere("state that is not ours", "state that nobody made", "state of a flow that has expired"),
		"H61": elsewhere("state replayed", "state replayed after success", "TestS26OneCallbackIsHandedOverOnce"),
		"H62": elsewhere("another browser", "another browser", "TestS28InChromiumAMailedProviderURLIsRefused"),
		"H63": elsewhere("mailed link", "mailed link: a page that says who asks, and no redirect", "TestS16InChromiumAnotherSitesFormGoesNowhere"),
		"H64": elsewhere("callback of another client", "callback on another client's path"),
		"H65": elsewhere("mix-up of servers", "a client of somebody else's sends on to an honest server: its callback is on the other client's path"),
		"H66": elsewhere("wrong issuer", "issuer missing though the client names one", "issuer twice"),
		"H67": elsewhere("bad code", "code of 100 kB", "code with a line break"),
		"H68": elsewhere("markup in an error", "denied, with markup in the description", "markup and a script as a link are on no page"),
		"H69": elsewhere("error and code", "error and code"),
		"H70": elsewhere("parameters that name servers", "a server named in the callback"),
		"H71": elsewhere("answer in a fragment", "an access token", "all in the fragment, which no server sees"),
		"H72": elsewhere("forwarded host", "start with a forwarded host"),
		"H73": elsewhere("open redirect", "somewhere to return to"),
		"H74": elsewhere("many flows", "TestS23TenThousandStrangersCauseNoRequestToTheAPIServer"),
		"H75": elsewhere("frames and referrers", "in a frame", "TestS31TheWholeWayInChromium"),
		"H76": elsewhere("code refused", "H76 S25 with a no: the attempt fails, five of them within an hour make a wait, and the old tokens stay", "the code is refused: what was there before goes on"),
		"H77": elsewhere("another person consents", "H77 is not kept, whoever was there before stays, and the status names who came", "another person than expected"),
		"H78": missing("device flow", "the device grant"), "H79": here("endpoints that may not be called"), "H80": here("colon in the id"),
		"H81": missing("parameters that override ours", "parameters of one's own; what an endpoint's query may not hold is S42"),
		"H82": here("header injection"), "H83": missing("assertions", "authentication by signed token"), "H84": missing("client certificates", "authentication by certificate"),
		"H85": elsewhere("revocation fails", "H85 is gone after two minutes though its grant could not be revoked"), "H86": here("the request echoed"), "H87": missing("token exchange", "the token exchange grant"),
	}
}

// TestHostileListIsComplete asserts that each id of the list has its place: a row here, a test elsewhere that exists, or
// the reason why there is none.
func TestHostileListIsComplete(t *testing.T) {
	t.Parallel()
	const last = 87
	list := hostileList()
	rows := map[string]int{}
	for _, r := range allRows() {
		rows[r.id]++
		if p, listed := list[r.id]; !strings.HasPrefix(r.id, "X") && (!listed || p.missing != "" || p.elsewhere != nil) {
			t.Errorf("%s has a row, and the list says otherwise: %+v", r.id, p)
		}
	}
	sources := testSources(t)
	for n := 1; n <= last; n++ {
		id := "H" + strconv.Itoa(100 + n)[1:]
		p, listed := list[id]
		switch {
		case !listed || p.behaviour == "":
			t.Errorf("%s is not in the list", id)
		case p.missing != "":
			t.Logf("%s %s: not tried; there is no such thing yet as %s", id, p.behaviour, p.missing)
		case len(p.elsewhere) > 0:
			for _, name := range p.elsewhere {
				if !regexp.MustCompile(`func ` + regexp.QuoteMeta(name) + `\(|"` + regexp.QuoteMeta(name) + `"`).MatchString(sources) {
					t.Errorf("%s is shown by %q, and there is no such test", id, name)
				}
			}
		case rows[id] == 0:
			t.Errorf("%s %s has no row", id, p.behaviour)
		}
	}
	if len(list) != last {
		t.Errorf("the list has %d entries, want %d", len(list), last)
	}
}

// testSources is the text of the tests of the packages that stand above this one.
func testSources(t *testing.T) string {
	t.Helper()
	var sources strings.Builder
	for _, folder := range []string{".", "../controller", "../lifecycle", "../pace", "../consent", "../../test/stories"} {
		names, err := fs.Glob(os.DirFS(folder), "*_test.go")
		if err != nil || len(names) == 0 {
			t.Fatalf("no tests in %s: %v", folder, err)
		}
		for _, name := range slices.Sorted(slices.Values(names)) {
			if name == "hostile_list_test.go" { // which names them all
				continue
			}
			if name == "hostile_list_test.go" {
				continue // it names them all
			}
			text, err := os.ReadFile(filepath.Join(folder, name))
			if err != nil {
				t.Fatal(err)
			}
			sources.Write(text)
		}
	}
	return sources.String()
}
