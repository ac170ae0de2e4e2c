#include <string.h>
/* Makes mail with bare LFs the body of a multi-line response: each LF becomes CRLF, and a dot that begins a line is doubled.
   Returns the octets made, and counts the dots added. Where `out` is NULL it only counts. */
size_t stuff(const char *in, size_t size, int line_begins, char *out, size_t *dots) {
  const char *end = in + size;
  size_t made = 0;
  for (*dots = 0; in < end; line_begins = 1) {
    const char *lf = memchr(in, '\n', end - in);
    size_t line = (lf ? lf : end) - in;
    if (line_begins && *in == '.') { if (out) out[made] = '.'; made++; ++*dots; }
    if (out) memcpy(out + made, in, line);
    made += line;
    if (lf) { if (out) memcpy(out + made, "\r\n", 2); made += 2; }
    in = lf ? lf + 1 : end;
  }
  return made;
}
