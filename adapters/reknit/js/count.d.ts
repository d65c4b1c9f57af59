/** A server of the package ws. */
interface CountedServer {
  on(event: string, listener: (...what: never[]) => void): unknown;
}

/**
 * Count the messages of each session, and say the count when the proxy dials again.
 * `keep`: seconds that a session is remembered after its last connection (600).
 * `handled`: how many messages of a session the server has handled for good, by its id.
 */
export function countReceived(
  server: CountedServer,
  options?: { keep?: number; handled?: (id: string) => number },
): void;
