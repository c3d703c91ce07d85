package oauth

import (
	"encoding/json"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	kjson "sigs.k8s.io/json"
)

// maxCapturedBytes bounds a value that is taken out of an answer.
const maxCapturedBytes = 1024

// MaxIdentityBytes bounds the name of whose access it is.
const MaxIdentityBytes = 256

// Capture is a value to be taken out of an answer.
type Capture struct {
	// Pointer names the value (RFC 6901), Key what it becomes.
	Pointer, Key string
	// URL: it must be an https URL, without user name, and of one of the hosts if there are any; *.example.com stands for all
	// below it. Without, any host will do that is not an IP address.
	URL   bool
	Hosts []string
}

// Captured takes values out of the body of a 2xx reply, by their keys. What is not there, is no text, number or boolean in
// printable ASCII, or is not what it must be, is left out and named in missing. Nothing of it is ever called.
func (r Reply) Captured(wanted []Capture) (values map[string]string, missing []string) {
	if len(wanted) == 0 {
		return nil, nil
	}
	body := r.object()
	for _, each := range wanted {
		value, found := lookUp(body, each.Pointer)
		if !found || each.URL && !isPublicURL(value, each.Hosts) {
			missing = append(missing, each.Key)
			continue
		}
		if values == nil {
			values = map[string]string{}
		}
		values[each.Key] = value
	}
	return values, missing
}

// Identity takes the name of whose access it is out of the body of a 2xx reply; "": there is none.
func (r Reply) Identity(pointer string) string {
	if pointer == "" {
		return ""
	}
	value, found := lookUp(r.object(), pointer)
	if !found || len(value) > MaxIdentityBytes || strings.TrimSpace(value) != value {
		return ""
	}
	return value
}

// IsCapturable reports whether a text can be a captured value: 1 to 1024 bytes of 0x20-0x7E.
func IsCapturable(text string) bool {
	return text != "" && len(text) <= maxCapturedBytes && isVisible(text)
}

// CodeFault tells why a code can never be sent, in our words; "": it can.
func CodeFault(req GrantRequest) string { return checkCode(req) }

// object is the body of a 2xx reply as one JSON object; nil: it is none, or names a member twice.
func (r Reply) object() map[string]any {
	from := r.inner()
	if !from.isSuccess() {
		return nil
	}
	from = from.unpacked()
	if _, reason := readFields(from.header, from.body); reason != "" {
		return nil
	}
	body := strings.TrimSpace(strings.TrimPrefix(string(from.body), "\xef\xbb\xbf"))
	var object map[string]any
	strict, err := kjson.UnmarshalStrict([]byte(body), &object, kjson.DisallowDuplicateFields)
	if err != nil || len(strict) > 0 {
		return nil
	}
	return object
}

// lookUp follows a JSON pointer (RFC 6901) to a text, a number or a boolean.
func lookUp(object map[string]any, pointer string) (string, bool) {
	path, absolute := strings.CutPrefix(pointer, "/")
	if object == nil || !absolute {
		return "", false
	}
	var at any = object
	for step := range strings.SplitSeq(path, "/") {
		step = strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
		var found bool
		switch inner := at.(type) {
		case map[string]any:
			at, found = inner[step]
		case []any:
			index, err := strconv.Atoi(step)
			if found = err == nil && index >= 0 && index < len(inner) && strconv.Itoa(index) == step; found {
				at = inner[index]
			}
		}
		if !found {
			return "", false
		}
	}
	return scalar(at)
}

// scalar writes a text, a number or a boolean.
func scalar(value any) (string, bool) {
	var text string
	switch value := value.(type) {
	case string:
		text = value
	case bool:
		text = strconv.FormatBool(value)
	case int64:
		text = strconv.FormatInt(value, 10)
	case float64:
		if math.Abs(value) >= 1<<53 {
			return "", false // its last digits are lost, and two accounts must not be taken for one
		}
		text = strconv.FormatFloat(value, 'f', -1, 64)
	case json.Number:
		text = value.String()
	default:
		return "", false
	}
	return text, IsCapturable(text)
}

// isPublicURL reports whether text is an https URL of one of the hosts, or of any that is named and no address.
func isPublicURL(text string, hosts []string) bool {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Scheme != "https" || parsed.User != nil || parsed.Opaque != "" || strings.ContainsAny(text, " \\\"<>") {
		return false
	}
	host := strings.ToLower(parsed.Hostname())
	if len(hosts) > 0 {
		return slices.ContainsFunc(hosts, func(allowed string) bool {
			below, wildcard := strings.CutPrefix(allowed, "*")
			return host == allowed || wildcard && strings.HasSuffix(host, below) && len(host) > len(below)
		})
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	// A name without a dot, or of digits only, is one of the network that it is used in, or an address in disguise.
	dot := strings.LastIndexByte(host, '.')
	last := host[dot+1:]
	return dot > 0 && last != "" && strings.Trim(last, "0123456789") != "" && !strings.HasPrefix(last, "0x") &&
		last != "local" && last != "internal" && last != "localhost"
}
