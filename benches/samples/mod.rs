//! Heads as they are met, for the benches and the tests of the hot-path budget.

/// What wrk and most other load generators send.
pub(crate) const SMALL: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

/// What a browser sends on a page within a site: 16 fields, two cookies among them.
pub(crate) const BROWSER: &[u8] = b"GET /articles/2024/11/on-keeping-even?from=index&page=2 HTTP/1.1\r\n\
Host: www.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Referer: https://www.example.com/articles/2024/11/\r\n\
DNT: 1\r\n\
Sec-GPC: 1\r\n\
Connection: keep-alive\r\n\
Cookie: session=3f6d1f0e9b7c4a52a1c8d5e2b7f09a44; consent=analytics%3D0%26ads%3D0; theme=dark; last=1731925522\r\n\
Upgrade-Insecure-Requests: 1\r\n\
Sec-Fetch-Dest: document\r\n\
Sec-Fetch-Mode: navigate\r\n\
Sec-Fetch-Site: same-origin\r\n\
If-None-Match: \"5e1f-6270b2a1c3d40\"\r\n\
Priority: u=0, i\r\n\
\r\n";

/// A small answer, as nginx would give it, with its body.
pub(crate) const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
Server: nginx/1.22.1\r\n\
Date: Mon, 18 Nov 2024 10:25:22 GMT\r\n\
Content-Type: text/plain\r\n\
Content-Length: 14\r\n\
Connection: keep-alive\r\n\
\r\n\
Hello, world!\n";
