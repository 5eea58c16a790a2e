"""A web service over collections, and its page: `cmh serve FOLDER…`, or `cmh.service.app.create_app`.

settings      limits, and who may use it
snapshots     the collection as it is now, replaced as a whole when it changes
queries       what is asked, and the nearest items
batcher       a bounded queue before the model: queries that wait together are encoded together
workers       a few threads with a bounded queue, for images and lists of items
pictures      images of queries and thumbnails, decoded with bounds
writes        items that are added and deleted
guard         what every request passes: host, token, size, time, headers, log
schema, app   the interface: what goes in and out, and under which address
service       what runs behind it
several       collections behind one port
server        ports and the end
"""
