import { writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { named } from '../../home/durable.ts'
import { command, exitCodes, usageError } from '../command.ts'
import { qrCode } from '../qr.ts'
import type { Session } from '../session.ts'
import { oneLine } from '../show.ts'

const help = `--out FILE   write the identity file there; piped, it goes to stdout
--url        the same bytes as a URL, for \`relay friend add\`
--qr         that URL as a QR code
--publish    your relays serve the file to everybody from now on, through all changes; it is a record, and costs as much
--unpublish  no longer`

export const idCommand = command({
  name: 'id',
  usage: '[--out FILE.relayid | --url | --qr | --publish | --unpublish]',
  summary: 'show your identity, or give it to friends: a file, a URL, a QR code, a place on your relays',
  help: help.split('\n'),
  options: {
    out: { type: 'string' },
    url: { type: 'boolean' },
    qr: { type: 'boolean' },
    publish: { type: 'boolean' },
    unpublish: { type: 'boolean' },
  },
  positionals: [0, 0],
  async run(session, { out, url, qr, publish, unpublish }) {
    if ([out, url, qr, publish, unpublish].filter((value) => value !== undefined).length > 1)
      throw usageError(`usage: relay id ${idCommand.usage}`)
    if (publish) return published(session)
    if (unpublish) return unpublished(session)
    const client = await session.client()
    if (url) session.print({ url: await client.card.url() }, await client.card.url())
    else if (qr) showCode(session, await client.card.url())
    else await showFile(session, out)
    return exitCodes.ok
  },
})

async function showFile(session: Session, out: string | undefined): Promise<void> {
  const { text, msg } = await (await session.client()).me()
  const { label, pubkey, relays, seq } = msg.request
  if (out !== undefined) {
    await named(dirname(out), writeFile(out, `${text}\n`))
    return session.print({ file: out, key: pubkey }, `wrote ${out}: give it to your friends`)
  }
  const lines = [
    `label   ${oneLine(label)}`,
    `key     ${pubkey}`,
    `seq     ${seq}`,
    ...relays.map((relay) => `relay   ${relay}`),
  ]
  // Piped, the bytes are the identity file itself: `relay id | relay --home OTHER friend add -`.
  session.io.stdout.write(session.isJson ? `${text}\n` : `${lines.join('\n')}\n`)
}

function showCode(session: Session, url: string): void {
  const { stdout } = session.io
  const { columns, text } = qrCode(url, { colours: stdout.isTTY === true })
  stdout.write(text)
  if ((stdout.columns ?? columns) < columns)
    session.say(`the code is ${columns} columns wide: widen the terminal, or make its letters smaller`)
}

async function published(session: Session): Promise<number> {
  const { card } = await session.client()
  const posted = await card.publish({ signal: session.signal })
  const places = await card.places(posted?.state === 'queued' ? undefined : posted?.accepted)
  const state = posted?.state ?? 'published'
  const text = state === 'queued' ? 'your relays will serve it once they answer' : 'everybody finds you at'
  session.print({ state, places }, `${text}\n${places.join('\n')}`)
  session.warn(posted?.failures ?? [])
  return exitCodes.ok
}

async function unpublished(session: Session): Promise<number> {
  const { card } = await session.client()
  const wasPublished = await card.unpublish({ signal: session.signal })
  session.print({ wasPublished }, wasPublished ? 'your relays serve it no longer' : 'it was not published')
  return exitCodes.ok
}
