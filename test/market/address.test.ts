import t from 'tap'
import { Address, formatAddress, parseAddress } from '../../market/address.ts'

const key = `02${'a'.repeat(64)}`
const onion = `${'a'.repeat(56)}.onion`

t.test('§8.1: an address has one normal form', async (t) => {
  const table: Record<string, string> = {
    'https://relay.example': 'https://relay.example',
    'https://relay.example/': 'https://relay.example',
    'https://relay.example:443/': 'https://relay.example',
    'https://relay.example:8443': 'https://relay.example:8443',
    'http://relay.example:80/a/b//': 'http://relay.example/a/b',
    'HTTPS://Relay.Example/A': 'https://relay.example/A',
    'https://relay.example/a/../b': 'https://relay.example/b',
    'http://127.0.0.1:3000': 'http://127.0.0.1:3000',
    'http://[2001:DB8::1]:80/a': 'http://[2001:db8::1]/a',
    'http://xn--bcher-kva.example': 'http://xn--bcher-kva.example',
    '192.0.2.1': 'http://192.0.2.1',
    '192.0.2.1:3000': 'http://192.0.2.1:3000',
    '[2001:db8::1]': 'http://[2001:db8::1]',
    '[2001:db8::1]:3000': 'http://[2001:db8::1]:3000',
    [onion]: `http://${onion}`,
    [`${onion}:81`]: `http://${onion}:81`,
  }
  for (const [given, url] of Object.entries(table)) {
    const address = parseAddress(`${given}#${key}`)

    t.same(address, { url, key }, given)
    t.same(parseAddress(formatAddress(address)), address)
    t.ok(Address.safeParse(`${given}#${key}`).success)
  }
})

t.test('§8.1: everything else is refused', async (t) => {
  const wrong = [
    '',
    '#',
    `#${key}`,
    'https://relay.example',
    'https://relay.example#',
    `https://relay.example#${key.toUpperCase()}`,
    `https://relay.example#${key.slice(2)}`,
    `https://relay.example#${key}#${key}`,
    `https://relay.example#04${key.slice(2)}`,
    `https://user@relay.example#${key}`,
    `https://user:word@relay.example#${key}`,
    `https://relay.example/?a=b#${key}`,
    `https://relay.example?#${key}?`,
    `ftp://relay.example#${key}`,
    `file:///etc/passwd#${key}`,
    `javascript:alert(1)#${key}`,
    `data:text/html,a#${key}`,
    `ws://relay.example#${key}`,
    `//relay.example#${key}`,
    `relay.example#${key}`,
    `localhost:3000#${key}`,
    `http:/relay.example#${key}`,
    `192.0.2.1/a#${key}`,
    `192.0.2.1:99999#${key}`,
    `999.0.2.1#${key}`,
    `https://:443#${key}`,
    ` https://relay.example#${key}`,
    `https://relay.example#${key}\n`,
    `https://relay.exa\tmple#${key}`,
    `https://relay.example\\@other.example#${key}`,
    `https://b\u00FCcher.example#${key}`,
    `https://relay.example/\u202E#${key}`,
    `https://relay.example/${'a'.repeat(512)}#${key}`,
  ]
  for (const text of wrong) {
    t.throws(() => parseAddress(text), { code: 'ERR_MALFORMED' }, text)
    t.notOk(Address.safeParse(text).success, text)
  }
})

t.test('§8.1: an address has at most 512 characters', async (t) => {
  const head = 'https://relay.example/'
  const longest = `${head}${'a'.repeat(512 - head.length - 67)}#${key}`
  t.equal(longest.length, 512)
  t.ok(parseAddress(longest))
  t.throws(() => parseAddress(longest.replace('/a', '/aa')), { code: 'ERR_MALFORMED' })
})

t.test('§8.1: numbers in every disguise come out as the address they mean', async (t) => {
  for (const host of ['2130706433', '0x7f000001', '0177.0.0.1', '127.1']) {
    t.equal(parseAddress(`http://${host}#${key}`).url, 'http://127.0.0.1', host)
  }
})
