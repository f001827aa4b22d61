// The place of simple-whip-server's configuration: what a test says in the environment.
module.exports = {
    janus: { address: process.env.JANUS },
    port: Number(process.env.PORT),
    rest: '/whip',
    allowTrickle: true,
    strictETags: true,
    iceServers: [],
};
