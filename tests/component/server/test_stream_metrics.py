"""What Prometheus hears of streams and requests."""

from support.server import TestServer
from support.streams import listed, reading, send


async def test_metrics_tell_of_streams_deliveries_and_each_routes_requests(server: TestServer) -> None:
    session = await server.create()
    async with reading(server, session) as reader:
        await send(server, session, "a")
        assert len(await reader.take(1)) == 1
        await listed(server, session)
        async with server.http.get(server.public_url + "/metrics") as response:
            lines = (await response.text()).splitlines()
    list_route = 'method="GET",port="public",route="/v1/sessions/{session_id}/events"'
    assert "managed_agents_server_streams 1.0" in lines
    assert "managed_agents_server_dropped_streams_total 0.0" in lines
    assert "managed_agents_server_stream_delivery_seconds_count 1.0" in lines
    assert f"managed_agents_server_request_seconds_count{{{list_route}}} 1.0" in lines
    assert not any("request_seconds_count" in line and "/stream" in line for line in lines)
