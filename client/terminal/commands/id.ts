import { writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { named } from '../../home/durable.ts'
import { command, exitCodes } from '../command.ts'
import { oneLine } from '../show.ts'

export const idCommand = command({
  name: 'id',
  usage: '[--out FILE.relayid]',
  summary: 'show your identity, or write the file that friends need',
  help: ['--out FILE  write the identity file there; piped, it goes to stdout'],
  options: { out: { type: 'string' } },
  positionals: [0, 0],
  async run(session, { out }) {
    const { text, msg } = await (await session.client()).me()
    const { label, pubkey, relays, seq } = msg.request
    if (out !== undefined) {
      await named(dirname(out), writeFile(out, `${text}\n`))
      session.print({ file: out, key: pubkey }, `wrote ${out}: give it to your friends`)
      return exitCodes.ok
    }
    // Piped, the bytes are the identity file itself: `relay id | relay --home OTHER friend add -`.
    if (session.isJson) session.io.stdout.write(`${text}\n`)
    else {
      const lines = [
        `label   ${oneLine(label)}`,
        `key     ${pubkey}`,
        `seq     ${seq}`,
        ...relays.map((relay) => `relay   ${relay}`),
      ]
      session.io.stdout.write(`${lines.join('\n')}\n`)
    }
    return exitCodes.ok
  },
})
